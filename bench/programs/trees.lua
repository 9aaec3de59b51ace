-- lua: tables, closures and strings. Trees that live briefly beside one that stays, a memoised string rewriter, buffers.
local function tree(depth)
    if depth == 0 then return {value = 1} end
    return {left = tree(depth - 1), right = tree(depth - 1), value = depth}
end

local function sum(t)
    return t.left and t.value + sum(t.left) + sum(t.right) or t.value
end

local function counter(start)
    local n = start
    return function(by) n = n + by; return n end
end

local kept = tree(15)
local total = 0
for i = 1, 60 do total = total + sum(tree(10 + i % 4)) end
total = total + sum(kept)

local memo, pieces = {}, {}
for i = 1, 150000 do
    local key = string.format("%06x", (i * 2654435761) % 16777216)
    local text = key:rep(1 + i % 5):gsub("[a-f]", string.upper)
    memo[key] = text
    pieces[#pieces + 1] = text:sub(1 + i % 4)
end
local keys = {}
for key in pairs(memo) do keys[#keys + 1] = key end
table.sort(keys)
local count = counter(0)
for i, key in ipairs(keys) do count(#memo[key] * (i % 7)) end
print(total, #keys, #table.concat(pieces, " "), count(0))
