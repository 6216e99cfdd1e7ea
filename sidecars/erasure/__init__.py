"""Erases a person's data: finds it by an encrypted identifier, erases it, and looks again.

Walk: `search` finds the documents of a person, by all forms in which `stored_forms` says that the identifier
may be stored, in all spellings, and from there along the links of the policy. `ownership` says which parts
of a document are the person's, if it is about others too. `holds` keeps the persons whose data must stay;
an erasure has the lock of that file as long as it runs. `running` deletes documents or overwrites what is
covered in them, destroys the keys that only this person's values have, and puts all of it in order. `journal`
is what makes a run that was killed go on. `search.find_returned` finds who is there again.

Theory. What leads to a document goes last: linked documents before those with the identifier, so that who
begins anew finds the rest. A step names what was read, and is done only where that still stands; what came
meanwhile is found by the next look. Nothing is called erased that a last look finds.

May not import: proxy, asyncio. No value is in what it returns, notes or raises.
"""
