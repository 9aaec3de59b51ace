"""gdb commands for goroutines, in a live process and in a core file.

    (gdb) source gosched-gdb.py
    (gdb) info goroutines             all of them: number, what it does, function it was started with
    (gdb) goroutine 7 bt              any gdb command, as if goroutine 7 were the current thread
    (gdb) goroutine all bt

A goroutine that runs is shown on its thread. One that waits has its registers on its own stack, where gs_switch put them
(switch.h). Registers cannot be changed in a core file; so an unwinder tells gdb, as long as the command runs, that the
caller of the innermost frame is the goroutine: that is why its frames count from 1.

Needs the library's debug information (it is built with -g; do not strip it)."""

import gdb
import gdb.unwinder

RUNNABLE, RUNNING, SYSCALL, WAITING = 1, 2, 3, 4
STATES = {RUNNABLE: "runnable", RUNNING: "running", SYSCALL: "syscall", WAITING: "waiting"}
STANDIN = 1  # GS_G_STANDIN

# What gs_switch saves, from the lowest address, and how many bytes it takes in all. The other registers that a function must
# keep are in the frame of the function that switched.
SAVED = {"x86-64": (("rbp", "rip"), 144), "aarch64": (("x29", "pc"), 16)}
STACK_POINTER = {"x86-64": "rsp", "aarch64": "sp"}


def machine():
    name = gdb.selected_inferior().architecture().name()
    return "aarch64" if "aarch64" in name else "x86-64"


def goroutines():
    """The records of those that are alive, by number."""
    try:
        g = gdb.parse_and_eval("gs_sched")["all_g"]
    except gdb.error:
        raise gdb.GdbError("libgomalloc is not loaded yet, or has no debug information")
    found = []
    while int(g):
        if not int(g["flags"]) & STANDIN and int(g["state"]) in STATES:
            found.append(g)
        g = g["all_next"]
    return sorted(found, key=lambda g: int(g["id"]))


def thread_of(g):
    """The thread that a goroutine runs on."""
    m = g["m"]
    for t in gdb.selected_inferior().threads():
        if int(m) and t.ptid[1] == int(m["tid"]):
            return t
    return None


def status(g):
    state = int(g["state"])
    if state != WAITING:
        return STATES[state]
    reason = g["wait_reason"]
    try:
        return gdb.parse_and_eval("gs_wait_text::text[%d]" % int(reason)).string()
    except gdb.error:
        return str(reason)


def function_at(address):
    block = gdb.block_for_pc(address)
    while block and not block.function:
        block = block.superblock
    if block:
        return block.function.name
    return gdb.execute("info symbol 0x%x" % address, to_string=True).split(" in section")[0].strip()


class Saved(gdb.unwinder.Unwinder):
    """Says that what called the innermost frame of the current thread is a waiting goroutine."""

    def __init__(self, g):
        super().__init__("goroutine")
        self.arch = machine()
        saved = int(g["sp"])
        self.top = int(gdb.newest_frame().read_register(STACK_POINTER[self.arch]))
        word = gdb.lookup_type("unsigned long")
        names, size = SAVED[self.arch]
        memory = gdb.Value(saved).cast(word.pointer())
        self.registers = {n: memory[i] for i, n in enumerate(names)}
        self.registers[STACK_POINTER[self.arch]] = gdb.Value(saved + size).cast(word)
        # The innermost frame's identity: below the goroutine's, as callers must lie above.
        address = gdb.lookup_type("void").pointer()
        self.sp = gdb.Value(saved - 16).cast(address)
        self.pc = gdb.newest_frame().read_register("pc").cast(address)

    def __call__(self, pending):
        if int(pending.read_register(STACK_POINTER[self.arch])) != self.top:
            return None

        info = pending.create_unwind_info(self)
        for name, value in self.registers.items():
            info.add_saved_register(name, value)
        return info


class WithoutInnermost:
    """Leaves the thread's own frame out of backtraces."""

    name, priority, enabled = "goroutine", 100, True

    def filter(self, frames):
        return (f for f in frames if f.inferior_frame().level() > 0)


def run_saved(g, command):
    unwinder, frames = Saved(g), WithoutInnermost()
    gdb.unwinder.register_unwinder(None, unwinder, replace=True)
    gdb.frame_filters[frames.name] = frames
    try:
        gdb.invalidate_cached_frames()
        gdb.newest_frame().older().select()
        gdb.execute(command)
    finally:
        del gdb.frame_filters[frames.name]
        gdb.frame_unwinders.remove(unwinder)
        gdb.invalidate_cached_frames()


def run(g, command):
    """The command on goroutine g; the selected thread and frame are as before afterwards."""
    before, level = gdb.selected_thread(), gdb.selected_frame().level()
    try:
        if int(g["state"]) in (RUNNING, SYSCALL):
            thread = thread_of(g)
            if not thread:
                raise gdb.GdbError("goroutine %d: no thread" % int(g["id"]))
            thread.switch()
            gdb.execute(command)
        else:
            run_saved(g, command)
    finally:
        before.switch()
        frame = gdb.newest_frame()
        while frame.level() < level and frame.older():
            frame = frame.older()
        frame.select()


class InfoGoroutines(gdb.Command):
    """All goroutines: number, what it does or waits for, function it was started with. * is the selected thread's."""

    def __init__(self):
        super().__init__("info goroutines", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        here = gdb.selected_thread()
        for g in goroutines():
            running = int(g["state"]) in (RUNNING, SYSCALL)
            mark = "*" if running and here and thread_of(g) == here else " "
            print("%s %d %s  %s" % (mark, int(g["id"]), status(g), function_at(int(g["fn"]))))


class Goroutine(gdb.Command):
    """goroutine N COMMAND: runs a gdb command as if goroutine N (or each, with `all`) were the selected thread."""

    def __init__(self):
        super().__init__("goroutine", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        which, _, command = arg.partition(" ")
        if not command:
            raise gdb.GdbError("goroutine N COMMAND, or goroutine all COMMAND")
        everyone = goroutines()
        if which == "all":
            for g in everyone:
                print("goroutine %d [%s]:" % (int(g["id"]), status(g)))
                run(g, command)
                print()
            return
        chosen = [g for g in everyone if which.isdigit() and int(g["id"]) == int(which)]
        if not chosen:
            raise gdb.GdbError("no goroutine %s" % which)
        run(chosen[0], command)


InfoGoroutines()
Goroutine()
