"""What outlives a lease: proxies stop, die and start while a class moves, and clocks, messages and
transactions run on. All orders of these steps are tried.

`model.py` beside it checks how windows and uses interleave. It ends everything that a proxy does when the
proxy's lease lapses. This model has time instead, and only one value and one window. Its clock ticks.
Whatever has a limit may last through the last tick of it:

    a proxy relies on its lease   while at most LEASE ticks have passed since it sent the renewal
    a message is carried out      until it is IN_FLIGHT old, then it is dropped
    a transaction stays open      until it is LIFETIME old, then the server aborts it
    a lease matters to the job    until it is OUTLIVED old, or was given back

A `World` says what clients do and which faults come, each once and at any moment. A `Weakness` takes one rule
away. `Explorer.explore` raises WrongAnswer, with the steps that lead to it, in these cases: a client gets a
wrong answer, an old form is left, or a state is reached from which the move and the clients cannot end.

Simplified: a proxy that runs well renews in time; it loads the keyring when it renews; a renewal and the
reading of the frontier behind it are one step; a proxy whose client is done holds nothing up. Each client has
one operation or transaction, and proxy 0 is the only one that fails. All clocks run at one rate. Not in it:
cursors, change streams, windows that are withdrawn, routers, and a second class.

Proxy 0 may be without `frontier.uri_file`: it has no lease and reads no frontier. The operator knows how many
proxies run when the job counts them; from then on none comes that has neither the setting nor the newer key.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.keys.frontier.lifetime_states import (
    BEGUN,
    FIRST,
    GOING_BACK,
    GONE,
    IN_FLIGHT,
    LEASE,
    LIFETIME,
    LOST,
    MOVING,
    NONE,
    OPENED,
    OUTLIVED,
    OVER,
    PENDING,
    QUIET,
    REPLACING,
    STAGES,
    Client,
    Fault,
    Job,
    Op,
    Phase,
    Proxy,
    State,
    Status,
    Step,
    Weakness,
    World,
    WrongAnswer,
    without_older,
)

MAX_STATES: Final = 2_000_000


@dataclass
class Explorer:
    """Walks through all states, those first that take the fewest steps."""

    world: World
    weaknesses: frozenset[Weakness] = frozenset()
    _numbers: dict[State, int] = field(default_factory=dict, init=False)
    _before: list[tuple[int, str]] = field(default_factory=list, init=False)
    """By a state's number, that of the one from which it was reached first, and the step."""

    def explore(self) -> int:
        """How many states there are. Raises WrongAnswer."""
        _, first = _relieved(("", self.world.first()))
        self._numbers[first] = 0
        self._before.append((NONE, ""))
        waiting = deque([first])
        leads_to: list[list[int]] = [[]]
        ends: list[int] = []
        number = -1
        while waiting:
            state = waiting.popleft()
            number += 1
            self._check(state)
            if self._is_end(state):
                ends.append(number)
                continue
            for label, following in map(_relieved, self._steps(state)):
                known = self._numbers.setdefault(following, len(self._before))
                if known == len(self._before):
                    self._before.append((number, label))
                    leads_to.append([])
                    waiting.append(following)
                leads_to[known].append(number)
            if len(self._before) > MAX_STATES:
                raise OverflowError("too many states")
        if not self.world.may_refuse:
            self._check_that_it_can_end(ends, leads_to)
        return len(self._before)

    def _check_that_it_can_end(self, ends: list[int], leads_to: list[list[int]]) -> None:
        can_end = set(ends)
        waiting = deque(ends)
        while waiting:
            for earlier in leads_to[waiting.popleft()]:
                if earlier not in can_end:
                    can_end.add(earlier)
                    waiting.append(earlier)
        for state, number in self._numbers.items():
            if number not in can_end:
                self._fail(state, "everybody waits for somebody")

    def _is_end(self, state: State) -> bool:
        """The moves are over, and every client that has a proxy has its answer."""
        if any(job.status is not Status.DEAD for job in state.jobs):
            return False
        return state.stage == 3 * self.world.moves and all(
            client.phase is Phase.DONE
            or (client.phase is Phase.TO_DO and state.proxies[number].status is Status.DEAD)
            for number, client in enumerate(state.clients)
        )

    def _check(self, state: State) -> None:
        if state.documents == _bit(0) | _bit(1):
            self._fail(state, "two documents have the value")
        move, within = divmod(state.stage, 3)
        if within == QUIET and state.documents and state.documents != _bit(_form(move)):
            self._fail(state, "a form that is not valid any more is left")

    def _fail(self, state: State, text: str, *last: str) -> None:
        steps = list(last)
        at, label = self._before[self._numbers[state]]
        while at != NONE:
            steps.insert(0, label)
            at, label = self._before[at]
        raise WrongAnswer(f"{text}: " + "; ".join(steps))

    def _keeps(self, weakness: Weakness) -> bool:
        return weakness not in self.weaknesses

    def _steps(self, state: State) -> Iterator[Step]:
        for number, client in enumerate(state.clients):
            if client.phase is not Phase.DONE:
                yield from self._client(state, number, client)
        for number, proxy in enumerate(state.proxies):
            yield from self._proxy(state, number, proxy)
        yield from self._operator(state)
        for number, job in enumerate(state.jobs):
            if job.status is Status.RUNNING:
                yield from self._job(state, number, job)
        for fault in state.faults:
            spent = state._replace(faults=tuple(each for each in state.faults if each is not fault))
            yield from self._fault(spent, fault)
        yield "tick", self._tick(state)

    # ------------------------------------------------------------------------------------------- the clients

    def _client(self, state: State, number: int, client: Client) -> Iterator[Step]:
        """Its next step at its proxy, or that of the server with what was sent for it."""
        name = f"client {number}"
        home = state.proxies[number]
        if client.phase is Phase.TO_DO:
            form = self._form_for(home) if _acts(home) else None
            if client.op is Op.SNAPSHOT:
                if _acts(home):
                    sent = client._replace(phase=Phase.SENT, via=number, sent=0, begun_at=_reached(home))
                    yield f"{name} begins a transaction", state.with_client(number, sent)
            elif form is not None:
                is_known = (
                    client.op is Op.TRANSACTION
                    and home.has_frontier
                    and (self._keeps(Weakness.FORGETS_EARLIER_TRANSACTIONS) or home.stage % 3 != QUIET)
                )
                sent = client._replace(phase=Phase.SENT, form=form, via=number, sent=0, is_known=is_known)
                yield f"{name} sends {client.op.name} of form {form}", state.with_client(number, sent)
        elif client.phase is Phase.SENT:
            yield from self._carried_out(state, number, client)
        elif client.phase is Phase.COMMITTING and client.sent != NONE:
            done = state.with_client(number, _done(client))
            yield f"{name}'s commit arrives", done._replace(documents=state.documents | _bit(client.form))
        if client.opened != NONE and not client.is_cut and client.phase is not Phase.SENT:
            if client.op is Op.SNAPSHOT:
                yield from self._searches(state, number, client)
            else:
                yield from self._commits(state, number, client)

    def _searches(self, state: State, number: int, client: Client) -> Iterator[Step]:
        """In the snapshot of its transaction, by the form that is valid now."""
        home = state.proxies[number]
        form = self._form_for(home) if _acts(home) else None
        if form is None:
            return
        if self._lacks(state, home, client):
            yield f"client {number} runs its transaction again", state.with_client(number, _done(client))
            return
        sent = client._replace(phase=Phase.SENT, form=form, via=number, sent=0)
        yield f"client {number} searches for form {form}", state.with_client(number, sent)

    def _lacks(self, state: State, home: Proxy, client: Client) -> bool:
        """Whether the transaction may read documents from before the form that is valid now."""
        if not self._keeps(Weakness.READS_WHAT_WAS):
            return False
        if client.begun_at != NONE:
            return client.begun_at != _reached(home)
        is_recent = state.moved <= LIFETIME and self._keeps(Weakness.FORGETS_RECENT_MOVES)
        return is_recent or _reached(home) > home.stage // 3

    def _carried_out(self, state: State, number: int, client: Client) -> Iterator[Step]:
        label = f"the server carries out {client.op.name} of client {number}"
        is_found = bool(state.documents & _bit(client.form)) if client.form != NONE else False
        done = state.with_client(number, _done(client))
        if client.op is Op.SNAPSHOT and client.form == NONE:
            opened = client._replace(phase=Phase.OPEN, via=NONE, sent=NONE, opened=0, read=state.documents)
            yield label, state.with_client(number, opened)
            return
        if client.op in (Op.FIND, Op.SNAPSHOT):
            stored = client.read if client.op is Op.SNAPSHOT else state.documents
            if stored and not stored & _bit(client.form) and not client.is_cut:
                self._fail(state, "a search has missed a document", label)
            yield label, done
            return
        is_locked = any(
            other.opened != NONE and other.form == client.form
            for each, other in enumerate(state.clients)
            if each != number
        )
        if is_found or (is_locked and client.op is Op.TRANSACTION):
            yield label, done
        elif client.op is Op.TRANSACTION:
            opened = client._replace(phase=Phase.OPEN, via=NONE, sent=NONE, opened=0)
            yield label, state.with_client(number, opened)
        elif not is_locked:
            yield label, done._replace(documents=state.documents | _bit(client.form))

    def _commits(self, state: State, number: int, client: Client) -> Iterator[Step]:
        """Its driver sends the commit, and again if that fails; elsewhere if its proxy does not answer."""
        has_failed = client.phase is Phase.COMMITTING and client.via == NONE
        may_leave = has_failed or not _acts(state.proxies[number])
        for via, proxy in enumerate(state.proxies):
            if not _acts(proxy) or (via != number and not may_leave) or client.via == via:
                continue
            label = f"client {number} commits through proxy {via}"
            if via == number and self._refuses_commit(proxy, client):
                yield f"{label}, which aborts", state.with_client(number, _done(client))
                continue
            sent = client._replace(phase=Phase.COMMITTING, via=via, sent=0)
            yield label, state.with_client(number, sent)

    def _refuses_commit(self, proxy: Proxy, client: Client) -> bool:
        if client.is_lost:
            return True
        return client.is_known and self._keeps(Weakness.COMMITS_WHAT_IT_LOST) and not _is_current(proxy)

    # ------------------------------------------------------------------------------------------- the proxies

    def _form_for(self, proxy: Proxy) -> int | None:
        """The form that a command gets; None: it is not sent now."""
        is_followed = proxy.stage % 3 != QUIET
        if not proxy.has_frontier:
            has_moved = proxy.stage >= STAGES or not self.world.is_first
            is_refused = is_followed and self._keeps(Weakness.SERVES_WHAT_IS_PENDING)
            if is_refused or (has_moved and self._keeps(Weakness.SERVES_WHAT_MOVED)):
                return None
            return _form(proxy.stage // STAGES)
        if not _is_current(proxy) or proxy.known < 0:
            is_asked = is_followed or self._keeps(Weakness.SENDS_WITHOUT_A_LEASE)
            if is_asked or proxy.known == LOST:
                return None
        return self._judged(proxy.stage, max(proxy.known, 0))

    def _judged(self, stage: int, generation: int) -> int | None:
        """The valid form, by the keyring and the frontier; None: refused, or the value moves now."""
        active, within = divmod(stage, 3)
        version = _version(generation)
        if version > active + (within != QUIET):
            return None if self._keeps(Weakness.IGNORES_NEWER_VERSIONS) else _form(active)
        if version <= active:
            return None if within == BEGUN else _form(active)
        phase = _phase(generation)
        if phase in (OPENED, MOVING):
            return None
        return _form(active + (phase == OVER))

    def _proxy(self, state: State, number: int, proxy: Proxy) -> Iterator[Step]:
        name = f"proxy {number}"
        if proxy.status in (Status.STOPPED, Status.ALONE):
            yield f"{name} goes on", state.with_proxy(number, proxy._replace(status=Status.RUNNING))
        if not _acts(proxy) or state.clients[number].phase is Phase.DONE:
            return
        if not proxy.has_frontier:
            if not proxy.is_copy and proxy.stage != state.stage:
                yield f"{name} loads the keyring", state.with_proxy(number, proxy._replace(stage=state.stage))
            return
        if proxy.age != NONE and (not _is_current(proxy) or not proxy.is_listed):
            yield f"{name} starts over", self._started_over(state, number, proxy)
        elif proxy.status is Status.RUNNING:
            yield f"{name} renews and reads {state.frontier}", self._renewed(state, number, proxy)
        if proxy.status is Status.RUNNING and proxy.age != NONE and _is_current(proxy):
            yield f"{name} reads {state.frontier}", self._read(state, number, proxy, state.told)

    def _started_over(self, state: State, number: int, proxy: Proxy) -> State:
        """Under another name; what relied on the old lease is cut."""
        state = self._losing(state.with_orphan(proxy), number)
        fresh = proxy._replace(age=NONE, acknowledged=0, known=NONE, is_listed=True)
        return state.with_proxy(number, fresh)

    def _losing(self, state: State, number: int) -> State:
        client = state.clients[number]
        if client.phase is Phase.DONE:
            return state
        is_cut = client.is_cut or client.phase is Phase.SENT
        is_lost = client.is_lost or client.is_known
        lost = client._replace(is_cut=is_cut, is_known=False, is_lost=is_lost, begun_at=NONE)
        return state.with_client(number, lost)

    def _renewed(self, state: State, number: int, proxy: Proxy) -> State:
        """It tells what it knows, loads the keyring, and reads the frontier."""
        acknowledged = self._acknowledged(state, number, proxy)
        if not proxy.is_copy:
            proxy = proxy._replace(stage=state.stage)
        told = max(state.told, proxy.seen) if self._remembers else 0
        renewed = proxy._replace(age=0, acknowledged=acknowledged)
        jobs = tuple(_seeing_renewed(job, number) for job in state.jobs)
        return self._read(state._replace(told=told, jobs=jobs), number, renewed, told)

    def _read(self, state: State, number: int, proxy: Proxy, told: int) -> State:
        """It reads the frontier, under the lease that stands."""
        after = state
        generation = state.frontier
        active, within = divmod(proxy.stage, 3)
        known, seen = generation, max(proxy.seen, generation) if self._goes_back else 0
        went_back = within != QUIET and _version(proxy.seen) > active and generation < proxy.seen
        if self._remembers and _version(max(told, seen)) > active and generation < max(told, seen):
            went_back = True
        if within == BEGUN and not self._is_named(state):
            went_back = True
        if went_back:
            known = LOST
            after = self._losing(after, number)
        if within == QUIET and not self._keeps(Weakness.COMMITS_WHAT_IT_LOST):
            # what was lost is remembered only while the class moves
            after = after.with_client(number, after.clients[number]._replace(is_lost=False))
        return after.with_proxy(number, proxy._replace(known=known, seen=seen))

    @property
    def _goes_back(self) -> bool:
        """Whether a frontier can be older than what was read before; else nobody has to remember it."""
        return not self._keeps(Weakness.OVERWRITES) or not GOING_BACK.isdisjoint(self.world.faults)

    @property
    def _remembers(self) -> bool:
        return self._goes_back and self._keeps(Weakness.FORGETS_WHAT_WAS_SEEN)

    def _is_named(self, state: State) -> bool:
        return state.named == state.database or not self._keeps(Weakness.NAMES_NO_DATABASE)

    def _acknowledged(self, state: State, number: int, proxy: Proxy) -> int:
        active, within = divmod(proxy.stage, 3)
        if within == QUIET or proxy.known < 0:
            return 0
        version = _version(proxy.known)
        if version <= active:
            return 4 * active + FIRST if within == PENDING else 0
        if version > active + 1:
            return 0
        is_open = _phase(proxy.known) in (OPENED, MOVING)
        return proxy.acknowledged if is_open and self._has_uses(state, number) else proxy.known

    def _has_uses(self, state: State, number: int) -> bool:
        client = state.clients[number]
        return client.is_known or (client.phase is Phase.SENT and client.form != NONE and not client.is_cut)

    # ----------------------------------------------------------------------------------------------- the job

    def _operator(self, state: State) -> Iterator[Step]:
        move, within = divmod(state.stage, 3)
        if within == QUIET and move < self.world.moves:
            yield "the operator rotates", state._replace(stage=state.stage + 1)
        for number, job in enumerate(state.jobs):
            if job.status is Status.STOPPED:
                running = job._replace(status=Status.RUNNING)
                yield f"job {number} goes on", state.with_job(number, running)
            elif job.status is Status.DEAD and within != QUIET and not _is_at_work(state):
                yield f"job {number} is started", state.with_job(number, Job(move=move))

    def _job(self, state: State, number: int, job: Job) -> Iterator[Step]:
        name = f"job {number}"
        if job.is_updating:
            yield f"{name} moves the value", self._updated(state, number, job)
            return
        phase = _phase(job.generation)
        if job.generation == NONE:
            yield from self._begins(state, number, job)
        elif phase == FIRST:
            is_to_note = self._keeps(Weakness.BEGINS_WITHOUT_THE_KEYRING)
            if is_to_note and state.stage == 3 * job.move + PENDING:
                noted = state._replace(stage=state.stage + 1, named=job.database)
                yield f"{name} notes in the keyring that it begins", noted
            elif self._may_open(state, job):
                yield from self._saves(state, number, job)
            elif state.stands == NONE:
                yield f"{name} notes that the leases are new", state._replace(stands=0)
        elif job.generation == 4 * job.move:
            yield from self._saves(state, number, job)
        elif phase == OPENED:
            yield from self._asks(state, number, job)
        else:
            yield from self._looks(state, number, job)

    def _begins(self, state: State, number: int, job: Job) -> Iterator[Step]:
        """It goes on where a frontier says, or writes the first one when all proxies have the new version."""
        name = f"job {number}"
        if state.stage // 3 != job.move or state.stage % 3 == QUIET:
            yield f"{name} has nothing to do", state.with_job(number, Job(Status.DEAD))
            return
        job = job._replace(database=state.database)
        if self._remembers and state.frontier < state.told and _version(state.told) > job.move:
            yield f"{name} refuses an older frontier", state.with_job(number, Job(Status.DEAD))
        elif state.stage % 3 == BEGUN and not self._is_named(state):
            yield f"{name} finds another database", state.with_job(number, Job(Status.DEAD))
        elif _version(state.frontier) == job.move + 1:
            loaded = job._replace(generation=state.frontier)
            yield f"{name} reads frontier {state.frontier}", state.with_job(number, loaded)
        elif state.stage % 3 == BEGUN or state.documents & _bit(_form(job.move + 1)):
            yield f"{name} finds no frontier", state.with_job(number, Job(Status.DEAD))
        elif self._may_begin(state, number, job):
            begins = state.with_job(number, job._replace(generation=4 * job.move, unrenewed=NONE))
            if not self._is_first(job):
                yield f"{name} begins", begins
                return
            begins = begins._replace(counted=0)
            if self._keeps(Weakness.COUNTS_NOBODY):
                yield from self._counts(state, number, job, begins)
            else:
                yield f"{name} begins", begins

    def _may_begin(self, state: State, number: int, job: Job) -> bool:
        if self._keeps(Weakness.TURNS_BACK_EARLY) and any(
            other.move < job.move and other.status is not Status.DEAD for other in state.jobs
        ):
            return False
        return self._youngest(state, 4 * job.move + FIRST) > self._limit

    def _is_first(self, job: Job) -> bool:
        return self.world.is_first and job.move == 0

    def _counts(self, state: State, number: int, job: Job, begins: State) -> Iterator[Step]:
        """It sees as many leases together as there are proxies, and later that all of them were renewed."""
        leases = self._current_leases(state)
        there = sum(proxy.status is not Status.DEAD for proxy in state.proxies)
        if job.unrenewed != NONE and (leases.bit_count() != there or job.unrenewed & ~leases):
            yield f"job {number} counts anew", state.with_job(number, job._replace(unrenewed=NONE))
        elif leases.bit_count() != there:
            return
        elif job.unrenewed == 0 or not self._keeps(Weakness.COUNTS_WHAT_ENDED):
            yield f"job {number} has counted {there} and begins", begins
        elif job.unrenewed == NONE:
            idle = sum(_bit(at) for at, client in enumerate(state.clients) if client.phase is Phase.DONE)
            together = job._replace(unrenewed=leases & ~idle)
            yield f"job {number} sees {there} leases", state.with_job(number, together)

    def _current_leases(self, state: State) -> int:
        """A bit for each address. A proxy that runs and whose client is done renews, and nothing says so."""
        is_there = state.former != NONE
        leases = _bit(len(state.proxies)) if is_there else 0
        for number, proxy in enumerate(state.proxies):
            is_idle = state.clients[number].phase is Phase.DONE and proxy.status is Status.RUNNING
            if proxy.has_frontier and (is_idle or (_is_current(proxy) and proxy.is_listed)):
                leases |= _bit(number)
        return leases

    def _may_open(self, state: State, job: Job) -> bool:
        """Whether nothing can matter any more of which no lease tells."""
        is_waiting = state.stands <= OUTLIVED and self._keeps(Weakness.OPENS_AT_ONCE)
        if not self._is_first(job) or not self._keeps(Weakness.OPENS_AFTER_THE_COUNT):
            return not is_waiting
        return not is_waiting and state.counted > OUTLIVED

    @property
    def _limit(self) -> int:
        return OUTLIVED if self._keeps(Weakness.IGNORES_LEASES_EARLY) else LEASE + IN_FLIGHT

    def _youngest(self, state: State, generation: int) -> int:
        """The age of the youngest lease that does not acknowledge the generation."""
        ages = [proxy.age for proxy in state.proxies if _holds_up(proxy, generation)]
        ages += [age for age, acknowledged in state.orphans if acknowledged < generation]
        return min(ages, default=GONE)

    def _asks(self, state: State, number: int, job: Job) -> Iterator[Step]:
        """It reads the leases; the time too, or in a later step."""
        if job.youngest > self._limit:
            yield from self._saves(state, number, job)
            return
        youngest = self._youngest(state, job.generation)
        is_at_once = self._keeps(Weakness.READS_THE_TIME_LATER)
        if youngest > self._limit or not is_at_once:
            asked = job._replace(youngest=youngest)
            yield f"job {number} reads the leases", state.with_job(number, asked)

    def _looks(self, state: State, number: int, job: Job) -> Iterator[Step]:
        """It sees that the frontier still stands there, and looks for the old form."""
        name = f"job {number}"
        if not self._is_as_written(state, job):
            yield f"{name} finds another frontier", state.with_job(number, Job(Status.DEAD))
        elif state.documents & _bit(_form(job.move)):
            yield f"{name} finds the value", state.with_job(number, job._replace(is_updating=True))
        elif _phase(job.generation) == MOVING:
            yield from self._saves(state, number, job)
        else:
            ended = state.with_job(number, Job(Status.DEAD))
            stage = max(state.stage, 3 * (job.move + 1))
            yield f"{name} activates the version", ended._replace(stage=stage)

    def _updated(self, state: State, number: int, job: Job) -> State:
        """By exactly the bytes of the old form."""
        after = state.with_job(number, job._replace(is_updating=False))
        old, new = _bit(_form(job.move)), _bit(_form(job.move + 1))
        if not state.documents & old:
            return after
        moved = 0 if Op.SNAPSHOT in self.world.ops else GONE
        return after._replace(documents=state.documents & ~old | new, moved=moved)

    def _is_as_written(self, state: State, job: Job) -> bool:
        if state.database != job.database and self._keeps(Weakness.NAMES_NO_DATABASE):
            return False
        return state.frontier == job.generation or not self._keeps(Weakness.OVERWRITES)

    def _saves(self, state: State, number: int, job: Job) -> Iterator[Step]:
        if not self._is_as_written(state, job):
            yield f"job {number} finds another frontier", state.with_job(number, Job(Status.DEAD))
            return
        following = job.generation + 1
        if self._remembers and self._keeps(Weakness.KEEPS_WHAT_IT_WROTE):
            # its own lease says so, before it goes on
            state = state._replace(told=max(state.told, job.generation))
        saved = state.with_job(number, job._replace(generation=following, youngest=NONE))
        yield f"job {number} writes frontier {following}", saved._replace(frontier=following)

    # ------------------------------------------------------------------------------------------------ faults

    def _fault(self, state: State, fault: Fault) -> Iterator[Step]:
        proxy = state.proxies[0]
        label = fault.name
        if fault in (Fault.STOP, Fault.LAPSE) and proxy.status is Status.RUNNING:
            status = Status.STOPPED if fault is Fault.STOP else Status.ALONE
            yield label, state.with_proxy(0, proxy._replace(status=status))
        elif fault in (Fault.KILL, Fault.END) and proxy.status is Status.RUNNING:
            is_given_back = fault is Fault.END and not self._leaves_its_lease(state, proxy)
            after = state if is_given_back else state.with_orphan(proxy)
            lost = self._losing(after, 0)
            client = lost.clients[0]
            # a process that ends remembers nothing
            forgotten = lost.with_client(0, client._replace(is_lost=False))
            yield label, forgotten.with_proxy(0, Proxy(Status.DEAD))
        elif fault is Fault.RESTART and proxy.status is Status.DEAD:
            yield label, state.with_proxy(0, Proxy(stage=state.stage))
        elif fault is Fault.RESTART_OLD and proxy.status is Status.DEAD:
            for stage in range(state.stage):
                copy = Proxy(stage=stage, is_copy=True)
                yield f"{label} with stage {stage}", state.with_proxy(0, copy)
        elif fault is Fault.RESTART_WITHOUT and proxy.status is Status.DEAD:
            yield from self._restarted_without(state)
        elif fault is Fault.BREAK and state.clients[0].phase is Phase.COMMITTING:
            yield from self._broken(state, state.clients[0])
        elif fault is Fault.STOP_JOB and state.jobs[0].status is Status.RUNNING:
            yield label, state.with_job(0, state.jobs[0]._replace(status=Status.STOPPED))
        elif state.frontier or fault in REPLACING:
            yield from self._loss(state, fault)

    def _restarted_without(self, state: State) -> Iterator[Step]:
        """With the keyring as it is, or as it was. Its lease stays behind, at its former address."""
        is_counted = state.counted != NONE or any(job.unrenewed != NONE for job in state.jobs)
        is_known = self.world.is_first and is_counted and not self.world.is_surprised
        ages = [age for age, acknowledged in state.orphans if acknowledged >= FIRST and age <= LEASE]
        left = state._replace(former=min(ages, default=NONE))
        for stage in range(PENDING if is_known else QUIET, state.stage + 1):
            fresh = Proxy(stage=stage, is_copy=stage < state.stage, has_frontier=False)
            yield f"RESTART_WITHOUT with stage {stage}", left.with_proxy(0, fresh)

    def _broken(self, state: State, client: Client) -> Iterator[Step]:
        """The proxy does not know whether the commit arrives."""
        keeps = client.is_known and self._keeps(Weakness.ENDS_WITH_AN_ERROR)
        unsure = client._replace(is_known=keeps, via=NONE)
        yield "BREAK: the commit is late", state.with_client(0, unsure)
        yield "BREAK: the commit does not arrive", state.with_client(0, unsure._replace(sent=NONE))

    def _leaves_its_lease(self, state: State, proxy: Proxy) -> bool:
        """Whether a proxy that is asked to end leaves its lease to run out."""
        is_followed = proxy.stage % 3 != QUIET
        client = state.clients[0]
        is_busy = self._has_uses(state, 0) or client.sent != NONE or client.begun_at != NONE
        return is_busy and (is_followed or self._keeps(Weakness.GIVES_BACK_A_BUSY_LEASE))

    def _loss(self, state: State, fault: Fault) -> Iterator[Step]:
        """Of the frontier's document, alone or with all of its database."""
        if fault in (Fault.LOSE_FRONTIER, Fault.LOSE_DATABASE):
            frontier = 0
        elif fault in (Fault.PUT_FRONTIER_BACK, Fault.PUT_DATABASE_BACK):
            frontier = state.frontier and state.frontier - _phase(state.frontier) + FIRST
        else:
            return
        after = state._replace(frontier=frontier)
        if fault in REPLACING:
            proxies = tuple(proxy._replace(is_listed=proxy.age == NONE) for proxy in state.proxies)
            after = after._replace(proxies=proxies, orphans=(), told=0)
            after = after._replace(database=state.database + 1)
            if fault is Fault.LOSE_DATABASE or self._keeps(Weakness.BELIEVES_A_COPY):
                after = after._replace(stands=NONE)
        yield fault.name, after

    # -------------------------------------------------------------------------------------------------- time

    def _tick(self, state: State) -> State:
        proxies = tuple(map(_tired, state.proxies))
        orphans = without_older((age + 1, told) for age, told in state.orphans if age < OUTLIVED)
        jobs = tuple(job._replace(youngest=_older(job.youngest)) for job in state.jobs)
        clients = tuple(map(self._aged, state.clients))
        stands, moved = _older(state.stands), GONE if state.moved >= LIFETIME + 1 else _older(state.moved)
        after = state._replace(proxies=proxies, orphans=orphans, jobs=jobs, clients=clients)
        former = _older(state.former) if state.former < LEASE else NONE
        return after._replace(stands=stands, moved=moved, former=former, counted=_older(state.counted))

    def _aged(self, client: Client) -> Client:
        if client.opened == LIFETIME:
            return _done(client)
        if client.opened != NONE:
            client = client._replace(opened=client.opened + 1)
        if client.sent != NONE:
            limit = IN_FLIGHT if self.world.delays else 0
            if not self.world.delays or self._keeps(Weakness.MESSAGES_LAST):
                client = client._replace(sent=client.sent + 1)
            if client.sent > limit:
                if client.opened == NONE:
                    return _done(client)
                client = client._replace(phase=Phase.OPEN, sent=NONE, via=NONE)
        return client


def _relieved(step: Step) -> Step:
    """A proxy whose client is done holds nothing up: its lease would be renewed, and say so."""
    label, state = step
    for number, client in enumerate(state.clients):
        proxy = state.proxies[number]
        if client.phase is Phase.DONE and (proxy.age != NONE or proxy.known != NONE or proxy.stage):
            state = state.with_proxy(number, Proxy(proxy.status, has_frontier=proxy.has_frontier))
    return label, state


def _seeing_renewed(job: Job, number: int) -> Job:
    return job if job.unrenewed in (NONE, 0) else job._replace(unrenewed=job.unrenewed & ~_bit(number))


def _bit(form: int) -> int:
    return 1 << form


def _form(version: int) -> int:
    """The third version has the first one's form. Versions count from 0."""
    return version % 2


def _version(generation: int) -> int:
    """That to which the frontier moves the class; 0 for none."""
    return (generation + 3) // 4


def _phase(generation: int) -> int:
    return (generation - 1) % 4 + 1


def _reached(proxy: Proxy) -> int:
    """The version whose form is valid, or was before the window that is open, as far as a proxy knows."""
    active = proxy.stage // 3
    is_over = proxy.known > 0 and _version(proxy.known) > active and _phase(proxy.known) == OVER
    return active + is_over


def _is_current(proxy: Proxy) -> bool:
    return NONE < proxy.age <= LEASE


def _is_at_work(state: State) -> bool:
    return any(job.status is Status.RUNNING for job in state.jobs)


def _acts(proxy: Proxy) -> bool:
    return proxy.status in (Status.RUNNING, Status.ALONE)


def _holds_up(proxy: Proxy, generation: int) -> bool:
    return proxy.age != NONE and proxy.is_listed and proxy.acknowledged < generation


def _tired(proxy: Proxy) -> Proxy:
    """One that runs well renews in time."""
    is_well = proxy.status is Status.RUNNING and proxy.age == 0 and proxy.is_listed
    return proxy if is_well else proxy._replace(age=_older(proxy.age))


def _older(age: int) -> int:
    return age if age in (NONE, GONE) else age + 1


def _done(client: Client) -> Client:
    return Client(client.op, Phase.DONE)
