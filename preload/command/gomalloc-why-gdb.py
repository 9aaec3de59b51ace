"""A gdb command for a live process that runs on gomalloc: what keeps a block alive.

    (gdb) source gomalloc-why-gdb.py
    (gdb) heap-why ADDRESS     the chain of pointers from a root to the block at the address (an expression)

It calls `gomalloc why --held`, which reads the process that gdb holds; all threads have to stand (all-stop mode). The
command is looked for in $PATH; the variable gomalloc_command, if python has it, says where it is instead.
"""

import subprocess
import tempfile

import gdb

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "fs_base", "gs_base")


def registers(file):
    """Every thread's, as lines for the command."""
    selected = gdb.selected_thread()
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        frame = gdb.newest_frame()
        for name in GENERAL:
            file.write("%d %s 0x%x\n" % (thread.ptid[1], name, int(frame.read_register(name)) & 0xFFFFFFFFFFFFFFFF))
        for i in range(16):
            for kind in ("ymm", "xmm"):
                try:
                    value = frame.read_register("%s%d" % (kind, i))
                except ValueError:
                    continue
                field = value["v4_int64" if kind == "ymm" else "v2_int64"]
                for k in range(4 if kind == "ymm" else 2):
                    file.write("%d %s%d 0x%x\n" % (thread.ptid[1], kind, i, int(field[k]) & 0xFFFFFFFFFFFFFFFF))
                break
    if selected:
        selected.switch()


class HeapWhy(gdb.Command):
    """heap-why ADDRESS: what keeps the block at the address alive."""

    def __init__(self):
        super().__init__("heap-why", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("heap-why wants an address")
        inferior = gdb.selected_inferior()
        if not inferior.pid:
            raise gdb.GdbError("there is no process")
        address = int(gdb.parse_and_eval(argument).cast(gdb.lookup_type("unsigned long")))
        with tempfile.NamedTemporaryFile("w", prefix="gomalloc-") as file:
            registers(file)
            file.flush()
            command = globals().get("gomalloc_command", "gomalloc")
            run = [command, "why", "--held", file.name, str(inferior.pid), "0x%x" % address]
            try:
                done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
            except OSError as error:
                raise gdb.GdbError("%s: %s" % (command, error))
        gdb.write(done.stdout)


HeapWhy()
