"""gdb commands for a process that runs on gomalloc, live or from a core file.

    (gdb) source gomalloc-gdb.py
    (gdb) heap                what the heap consists of
    (gdb) heap classes        the size classes: spans, objects, how full
    (gdb) heap span ADDRESS   what lies at an address: its span, its slot, live or free

The figures are read from the allocator's own records (malloc.c has the overview): the page tables of the arenas
lead to the spans, a span's `home` bits say which slots are at home, and the byte of a slot in the arena's state
table whether the program has it (above 1 KiB: its word in another). A slot that is neither is in a thread's cache or in a batch between threads.
Needs the library's debug information (it is built with -g); nothing in the process is run or changed.
"""

import gdb

PAGE_SHIFT, CHUNK_SHIFT, STATE_SHIFT = 13, 21, 4
PAGE = 1 << PAGE_SHIFT
CHUNK_PAGES = 1 << (CHUNK_SHIFT - PAGE_SHIFT)
CLASS_8 = 1
SMALL_MAX, MEDIUM_MAX = 1024, 32768
SPAN_TINY = 4


class NoHeap(gdb.GdbError):
    pass


def variable(name):
    symbol = gdb.lookup_global_symbol(name) or gdb.lookup_static_symbol(name)
    if symbol is None:
        raise NoHeap("gomalloc is not in this program, or has no debug information (no %s)" % name)
    return symbol.value()


def memory(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size)) if size else b""


def words(address, count):
    return memoryview(memory(address, count * 8)).cast("Q")


def human(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return "%d B" % n if unit == "B" else "%.1f %s" % (n, unit)
        n /= 1024


class Span:
    def __init__(self, record, sizes):
        self.record = record
        self.address = int(record.address)
        self.start = int(record["start"])
        self.npages = int(record["npages"])
        self.cls = int(record["cls"])
        self.nslots = int(record["nslots"])
        self.nfree = int(record["nfree"])
        self.flags = int(record["flags"])
        self.ceded = int(record["ceded"]) if self.cls > CLASS_8 and not self.flags & SPAN_TINY else 0
        self.bytes = (self.npages - bin(self.ceded).count("1")) * PAGE
        self.size = sizes[self.cls] if self.cls else self.npages * PAGE

    def home(self, slot):
        at = int(self.record["home"].address) + slot // 64 * 8
        return words(at, 1)[0] >> slot % 64 & 1


class Arena:
    def __init__(self, value, name):
        self.base, self.committed = int(value["base"]), int(value["committed"])
        self.size, self.state, self.pages = int(value["size"]), int(value["state"]), int(value["pages"])
        self.medium = int(value["medium"])
        index = value["index"]
        self.idle = int(index["free_pages"]) * PAGE
        self.released = int(index["zero_pages"]) * PAGE
        self.name = name

    def entries(self):
        return words(self.pages, self.committed >> PAGE_SHIFT)


class Heap:
    def __init__(self):
        self.space = variable("gm_space")
        self.sizes = [int(n) for n in self.array("gm_class_size")]
        self.arenas = [Arena(self.space["primary"], "primary")]
        arena = variable("gm_sparse_arenas")
        while int(arena) != 0:
            self.arenas.append(Arena(arena.dereference(), "further"))
            arena = arena["next"]
        self.arenas = [a for a in self.arenas if a.committed]
        self.span_type = gdb.lookup_type("struct gm_span").pointer()

    def array(self, name):
        value = variable(name)
        low, high = value.type.range()
        return [value[i] for i in range(low, high + 1)]

    def span_of_entry(self, entry):
        return Span(gdb.Value(entry & 0x0000FFFFFFFFFFC0).cast(self.span_type).dereference(), self.sizes)

    def spans(self):
        for arena in self.arenas:
            entries, page = arena.entries(), 0
            while page < len(entries):
                if entries[page] <= 1:  # none, or GM_ENTRY_FREED
                    page += 1
                    continue
                span = self.span_of_entry(entries[page])
                at = (arena.base + page * PAGE - span.start) // PAGE
                if span.cls == 0 and at == 0:
                    yield span
                    page += span.npages
                    continue
                if span.cls != 0 and 0 <= at < span.npages and not any(not span.ceded >> k & 1 for k in range(at)):
                    yield span  # its first page that it has not ceded
                page += 1

    def arena_of(self, address):
        for arena in self.arenas:
            if arena.base <= address < arena.base + arena.committed:
                return arena
        return None

    def span_at(self, arena, address):
        page = (address - arena.base) >> PAGE_SHIFT
        for look in (page, page - page % CHUNK_PAGES):  # a large object has an entry at each chunk only
            entry = words(arena.pages + look * 8, 1)[0]
            if entry > 1:
                span = self.span_of_entry(entry)
                if span.start <= address < span.start + span.npages * PAGE:
                    return span
        return None

    def guest(self, arena, span, address):
        """Start and size of the live object of another class that covers the address (guests.c); None."""
        if span.cls <= CLASS_8 or span.flags & SPAN_TINY:
            return None
        for at, state in self.starts(arena, address):
            cls = state & 0x7F
            if cls not in (CLASS_8, span.cls) and address - at < self.sizes[cls]:
                return at, self.sizes[cls]
        return None

    def starts(self, arena, address):
        """The next start of a slot at or below the address and its state, by each of the two tables of states."""
        for at in range(address & ~15, max(arena.base, address - SMALL_MAX) - 1, -16):
            state = memory(arena.state + ((at - arena.base) >> STATE_SHIFT), 1)[0]
            if state:
                yield at, state
                break
        for kib in range(address & ~1023, max(arena.base, address - MEDIUM_MAX - 1023) - 1, -1024):
            state, place = memory(arena.medium - 2 - ((kib - arena.base) >> 10) * 2, 2)
            if state and kib + place * 16 <= address:
                yield kib + place * 16, state
                break

    def live(self, arena, span, slot):
        if span.cls == 0:
            return True
        if span.flags & SPAN_TINY:
            return (words(int(span.record["side"]) + slot * 4 // 8 * 8, 1)[0] >> (slot * 4 % 8 * 8)) & 0xFFFF != 0
        at = span.start + slot * span.size
        if span.cls == CLASS_8:
            return memory(int(span.record["side"]) + slot, 1)[0] != 0
        if span.size > SMALL_MAX:  # a word for each KiB: its high byte says where in it the slot starts
            word = memory(arena.medium - 2 - ((at - arena.base) >> 10) * 2, 2)
            return word[0] != 0 and word[1] == (at >> STATE_SHIFT) & 63
        return memory(arena.state + ((at - arena.base) >> STATE_SHIFT), 1)[0] != 0


class HeapCommand(gdb.Command):
    """What the heap of gomalloc consists of. See also: heap classes, heap span ADDRESS."""

    def __init__(self):
        super().__init__("heap", gdb.COMMAND_DATA, prefix=True)

    def invoke(self, argument, from_tty):
        if argument:
            raise gdb.GdbError("heap, heap classes, or heap span ADDRESS")
        heap = Heap()
        small = large = small_bytes = large_bytes = out = 0
        for span in heap.spans():
            if span.cls:
                small, small_bytes = small + 1, small_bytes + span.bytes
                out += (span.nslots - span.nfree) * span.size
            else:
                large, large_bytes = large + 1, large_bytes + span.npages * PAGE
        for a in heap.arenas:
            print("arena %#x-%#x %s: %s grown of %s reserved, %s idle, of that %s not backed" %
                  (a.base, a.base + a.committed, a.name, human(a.committed), human(a.size), human(a.idle), human(a.released)))
        print("small spans: %d, %s; their slots in use or in caches: %s" % (small, human(small_bytes), human(out)))
        print("large objects: %d, %s" % (large, human(large_bytes)))


class HeapClasses(gdb.Command):
    """The size classes of gomalloc that have spans. `out` counts slots that are not at home: live, or in caches."""

    def __init__(self):
        super().__init__("heap classes", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        heap, table = Heap(), {}
        for span in heap.spans():
            row = table.setdefault(span.cls, [0, 0, 0, 0])
            row[0] += 1
            row[1] += span.bytes
            row[2] += span.nslots
            row[3] += span.nslots - span.nfree
        print("%8s %8s %12s %10s %10s %7s" % ("size", "spans", "bytes", "slots", "out", "full"))
        for cls in sorted(table, key=lambda c: (c == 0, c)):
            n, size, slots, out = table[cls]
            if cls == 0:
                print("%8s %8d %12d" % ("large", n, size))
            else:
                print("%8d %8d %12d %10d %10d %6.1f%%" % (heap.sizes[cls], n, size, slots, out, 100 * out / slots))


class HeapSpan(gdb.Command):
    """heap span ADDRESS: the span of gomalloc that holds the address, and what is at it."""

    def __init__(self):
        super().__init__("heap span", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("heap span ADDRESS")
        address, heap = int(gdb.parse_and_eval(argument)) & (1 << 64) - 1, Heap()
        arena = heap.arena_of(address)
        if arena is None:
            print("%#x is not in the heap" % address)
            return
        span = heap.span_at(arena, address)
        if span is None:
            print("%#x is in the heap, in no span" % address)
            return
        kind = "%d slots of %d bytes, %d at home" % (span.nslots, span.size, span.nfree) if span.cls else "large object"
        print("span %#x-%#x: %d pages, %s (record %#x)" % (span.start, span.start + span.npages * PAGE, span.npages, kind, span.address))
        if span.cls == 0:
            print("%#x is %d bytes into the object, which the program asked %d bytes for" %
                  (address, address - span.start, int(span.record["requested"])))
            return
        slot = (address - span.start) // span.size
        if (slot + 1) * span.size > span.npages * PAGE:
            print("%#x lies behind the last slot" % address)
            return
        guest = heap.guest(arena, span, address)
        if guest:
            print("%d bytes into the object of %d bytes at %#x, a guest here: live" % (address - guest[0], guest[1], guest[0]))
            return
        state = "live" if heap.live(arena, span, slot) else "free, at home" if span.home(slot) else "free, in a cache or a batch"
        print("slot %d at %#x, %d bytes into it: %s" %
              (slot, span.start + slot * span.size, (address - span.start) % span.size, state))


HeapCommand()
HeapClasses()
HeapSpan()
