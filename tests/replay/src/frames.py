# Run inside gdb: the frames of core files, one after the other.
#
# In: `cores_path`, a file with the path of a core file in each line. Out, on standard output: for each a line
# "core", then for each frame its address, whether it was interrupted there (1) or called (0), and its function.
import gdb

for line in open(cores_path):
    gdb.execute("core-file " + line.strip(), to_string=True)
    print("core")
    frame, exact = gdb.newest_frame(), 1
    while frame is not None and frame.is_valid():
        # What was inlined or left by a jump has no frame on the stack: gdb knows of it by debug information.
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            print(f"{frame.pc():x} {exact} {frame.name() or '?'}")
            exact = 1 if frame.type() == gdb.SIGTRAMP_FRAME else 0
        try:
            frame = frame.older()
        except gdb.error as error:
            print(f"error {error}")
            break
