# ruby: a graph of small objects that is built, queried and dropped three times; symbols, strings and blocks.
Node = Struct.new(:id, :name, :links, :attributes)

def build(count, seed)
  nodes = Array.new(count) { |i| Node.new(i, "node #{i} of #{seed}", [], {}) }
  state = seed
  nodes.each do |node|
    3.times do
      state = (state * 1_103_515_245 + 12_345) & 0x7fffffff
      node.links << nodes[(state >> 8) % count]
    end
    node.attributes[:weight] = (state >> 4) % 1000
    node.attributes[:label] = node.name.split.map(&:capitalize).join('-')
  end
end

def reach(start, depth)
  seen = { start.id => true }
  front = [start]
  depth.times do
    front = front.flat_map(&:links).reject { |n| seen[n.id] || !(seen[n.id] = true) }
  end
  seen.size
end

total = 0
3.times do |round|
  nodes = build(70_000, round + 1)
  total += nodes.first(40).sum { |n| reach(n, 7) }
  groups = nodes.group_by { |n| n.attributes[:weight] / 10 }
  total += groups.map { |k, list| k * list.map { |n| n.attributes[:label].size }.sum }.sum
  total += nodes.map(&:name).sort.each_slice(1000).map { |s| s.join(',').size }.sum
end
puts total
