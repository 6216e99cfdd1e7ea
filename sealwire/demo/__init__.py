"""The demo: an unchanged application before and behind Sealwire, side by side.

Walk: `stage.build` starts two databases, makes certificates and keys, and starts Sealwire in front of one of
them, all from the testbed; `story.tell` runs the same application against
both and looks at what is stored; `story.show` prints it. Everything runs on this machine, in a temporary
folder, under passwords and keys that are made for this run. Every claim that is shown was checked first: a
story with a failed check ends with an exit code, so the demo is also a test.
"""
