# Run inside gdb, on a program under its control: what an unwinder needs to know of a thread, and what gdb
# finds, instruction by instruction.
#
# In, as Python variables: `start_at`, where to begin (empty: at the first instruction); `skip`, how often to pass there before; `steps`, how many
# instructions; `stride`, how many of them from one capture to the next; `maps`, whether the mappings are known to
# gdb; `registers`, names by DWARF number. Out, on standard output, for each capture:
#   capture
#   ip ADDRESS / register NUMBER VALUE / map START END POSITION PATH / memory ADDRESS BYTES
#   frame ADDRESS 0|1 FUNCTION
import gdb

MOST_STACK = 16 * 1024
trampolines = set()


def number(text):
    return int(gdb.parse_and_eval(text)) & 0xFFFFFFFFFFFFFFFF


def mappings():
    found = []
    if not maps:
        return found
    for line in gdb.execute("info proc mappings", to_string=True).splitlines():
        words = line.split()
        if len(words) >= 5 and words[0].startswith("0x"):
            path = words[5] if len(words) > 5 else ""
            found.append((int(words[0], 16), int(words[1], 16), int(words[3], 16), words[4], path))
    return found


def frames():
    frame, exact = gdb.newest_frame(), 1
    while frame is not None and frame.is_valid():
        # What was inlined or left by a jump has no frame on the stack: gdb knows of it by debug information.
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            frame.select()
            yield frame, exact, frame.name() or "?", number("$sp")
            exact = 1 if frame.type() == gdb.SIGTRAMP_FRAME else 0
        try:
            frame = frame.older()
        except gdb.error:
            return


def capture():
    found = []
    for frame, exact, name, sp in frames():
        found.append((frame.pc(), exact, name, sp))
        if frame.type() == gdb.SIGTRAMP_FRAME and not maps:
            trampolines.add(frame.pc())
    gdb.newest_frame().select()
    print("capture")
    print(f"ip {number('$pc'):x}")
    for dwarf, name in registers.items():
        print(f"register {dwarf:x} {number('$' + name):x}")
    regions = mappings()
    for start, end, position, flags, path in regions:
        if "x" in flags and path:
            print(f"map {start:x} {end:x} {position:x} {path}")
    for trampoline in trampolines:
        # The emulator's, which is in no file; the row of a trampoline begins before it.
        start = trampoline - 16
        print(f"map {start:x} {trampoline + 64:x} 0 [sigreturn]")
    # Each stack that a frame lies on, from the innermost of its frames on.
    known = []
    for _, _, _, sp in found:
        if any(start <= sp < end for start, end in known):
            continue
        start = sp - 128
        region = [(first, end) for first, end, *_ in regions if first <= sp < end]
        limit = min(sp + MOST_STACK, region[0][1]) if region else sp + MOST_STACK
        start = max(start, region[0][0]) if region else start
        while limit > sp:
            try:
                memory = gdb.selected_inferior().read_memory(start, limit - start)
                break
            except gdb.MemoryError:
                limit = (limit - 1) & ~0xFF
        else:
            continue
        print(f"memory {start:x} {memory.tobytes().hex()}")
        known.append((start, limit))
    for pc, exact, name, _ in found:
        print(f"frame {pc:x} {exact} {name}")


def leave_breakpoints():
    for breakpoint in gdb.breakpoints() or ():
        breakpoint.delete()


if start_at:
    here = gdb.Breakpoint(start_at)
    here.ignore_count = skip
gdb.execute(run_with, to_string=True)
leave_breakpoints()
for step in range(steps):
    if step % stride == 0:
        capture()
    gdb.execute("stepi", to_string=True)
