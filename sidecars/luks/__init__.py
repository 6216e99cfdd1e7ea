"""MongoDB's data directory on a LUKS volume: set up, moved there, watched, and brought back.

Owns: LUKS2 volumes made by cryptsetup, the move of a data directory on to one, and the journal of that move.

The walk: `settings.VolumeSettings` says what is wanted; `preflight.examine` says what stands against it;
`steps.begin` opens a `journal.VolumeJournal`, and `steps.go_on` takes the steps of `steps.STEPS` one after
another and notes each, so that after a crash it goes on and `steps.roll_back` goes back. `tables` has the
lines for the boot. What one volume needs is in `volume`, backups of its header are in `headers`. All that
touches the system goes through `machine.Machine`; tests put a model in its place. `status.look` answers
whether what is open lies on dm-crypt.
`recovery.sh` beside this file opens a volume where no Python is.

Secrets go to cryptsetup over its standard input or a pipe, never in arguments, environment or logs.
May not import: wire, policies, proxy, asyncio, logging. Of the rooms it uses keys.
"""
