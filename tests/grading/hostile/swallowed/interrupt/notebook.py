import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGALRM, lambda *_: print("is that all?"))
# %%
while True:
    try:
        while True:
            pass
    except BaseException as error:
        print("swallowed", error)
