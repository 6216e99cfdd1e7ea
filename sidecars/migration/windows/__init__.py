"""Moves a deterministic class from its active version to its pending one, by windows, with exact answers.

Walk: the steps of `turn.Turn` are windows. `looking` finds what cannot be moved before anything is.
`turn.Chooser` finds where the next window ends, `frontiers` writes the frontier and asks the proxies' leases,
`moving` gives the values of the window their new form, `server` reads by ranges of the old forms, by the
indexes that it finds or makes, and writes. `order.Order` is what all of these know of the order of the old
forms, and `order.ClassPaths` where the class is stored; that of values in clear is in `plaintext`. `strays`
is what other versions have left behind, which the last sweep moves as well, and which `looking.Repair` moves
alone. `workers` are the processes that may move values.

Theory: `keys.frontier`. What a value's valid form is depends on the frontier alone, so a window is written
down before it moves, all proxies have to let it go, and it is closed only when a search that begins after
that finds no old form. All of it may be repeated: a job that died finds the open window and asks again.

A window that the proxies do not let go is withdrawn, and tried again later.

Reads of what must be complete follow, in one causally consistent session, a write that a majority has. So
they see what any proxy wrote before it let the window go, and nothing that could still be rolled back.

May not import: proxy, asyncio. No value and no position is in what it tells, notes or raises.
"""
