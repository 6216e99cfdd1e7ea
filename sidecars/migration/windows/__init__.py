"""Moves a deterministic class from its active key to its pending one, window by window, with exact answers.

Walk: `turn.Turn` is the loop. `choosing` finds where the next window ends, `frontiers` writes the frontier
and asks the proxies' leases, `moving` gives the values of the window their new form, `server` reads by ranges
of the old forms and writes. `places` has the order of the old forms, `paths` where the class is stored,
`indexes` what a range is found by.

Theory: `keys.frontier`. What a value's valid form is depends on the frontier alone, so a window is written
down before it moves, all proxies have to let it go, and it is closed only when a search that begins after
that finds no old form. All of it may be repeated: a job that died finds the open window and asks again.

A window that the proxies do not let go is withdrawn, and tried again later.

Reads of what must be complete follow, in one causally consistent session, a write that a majority has. So
they see what any proxy wrote before it let the window go, and nothing that could still be rolled back.

May not import: proxy, asyncio. No value and no position is in what it tells, notes or raises.
"""
