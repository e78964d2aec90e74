from pathlib import Path

for process in Path("/proc").glob("[0-9]*"):
    for name in ("environ", "cmdline", "comm", "cwd", "exe", "loginuid", "cgroup"):
        path = process / name
        try:
            print(path, path.readlink() if name in ("cwd", "exe") else path.read_bytes())
        except OSError as error:
            print(path, error.strerror)
