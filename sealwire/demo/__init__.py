"""The demo: an unchanged application before and behind Sealwire, side by side.

Walk: `stage.build` starts two databases (`database`), makes certificates (`certificates`) and keys, and
starts Sealwire in front of one of them (`proxy_process`); `story.tell` runs the same application against
both and looks at what is stored; `render.show` prints it. Everything runs on this machine, in a temporary
folder, under passwords and keys that are made for this run. Every claim that is shown was checked first: a
story with a failed check ends with an exit code, so the demo is also a test.

The database is SecantusDB, a MongoDB server that a package index can install; it always runs as a separate
process and is never imported.
"""
