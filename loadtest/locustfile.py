"""Locust's side of the load tests: user classes, the shape, and what becomes of the outcomes.

    locust -f loadtest/locustfile.py --host 127.0.0.1:9000 --users 20        (web page)
    locust -f loadtest/locustfile.py --headless --model arrivals --shape soak --level 50

Everything that needs no Locust lives in the modules beside this file.
"""

import functools
import sys
from pathlib import Path
from typing import Any

from locust import LoadTestShape, User, argument_parser, events, task
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

# Locust runs this file by its path.
ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from loadtest import outcomes  # noqa: E402 - after the path
from loadtest.calls import Call, Think  # noqa: E402
from loadtest.journeys import draw_journey  # noqa: E402
from loadtest.outcomes import Outcome  # noqa: E402
from loadtest.plan import OPTIONS, PlanUnusable, read_plan  # noqa: E402
from loadtest.population import ShopUnreadable  # noqa: E402
from loadtest.results import Run, conclude  # noqa: E402
from loadtest.session import Session  # noqa: E402
from loadtest.thresholds import ThresholdsUnusable, load_thresholds  # noqa: E402

UNUSABLE = 2
# After a failure that names no time: callers that came back at once would only make failures.
FAILED_PAUSE_MS = 100.0
MOST_SPAWNED_PER_S = 100
MESSAGE = "loadtest"
# Where the environment keeps what our listeners share.
SESSION = "loadtest_session"


class CallFailed(Exception):
    """A call that was not answered; reads as its status code."""

    def __repr__(self) -> str:
        return str(self.args[0])


class _Customer(User):
    """Makes calls and reports them to Locust and to the record."""

    abstract = True

    @property
    def session(self) -> Session:
        """What this process shares among its users."""
        session = getattr(self.environment, SESSION)
        assert isinstance(session, Session)
        return session

    def report(self, outcome: Outcome) -> None:
        """Counts a call; a degraded reply stands under a name of its own."""
        degraded = outcome.name == outcomes.DEGRADED
        failed = outcome.name not in outcomes.ANSWERED
        self.environment.events.request.fire(
            request_type="grpc",
            name=f"{outcome.method} (degraded)" if degraded else outcome.method,
            response_time=outcome.response_ms,
            response_length=0,
            exception=CallFailed(outcome.name) if failed else None,
            context={},
        )


class Shopper(_Customer):
    """A customer on journeys, with pauses for thought (closed model)."""

    def on_start(self) -> None:
        """Comes into the shop."""
        self._journey = draw_journey(self.session.population)
        self._reply: Any = None
        self._pause_s = 0.0

    def wait_time(self) -> float:
        """Seconds until the next step; a user who waits may be stopped at any moment."""
        return self._pause_s

    @task
    def take_step(self) -> None:
        """Does the next thing on the journey; begins another at its end."""
        self._pause_s = 0.0
        reply, self._reply = self._reply, None
        try:
            step = self._journey.send(reply)
        except StopIteration:
            self._journey = draw_journey(self.session.population)
            return
        if isinstance(step, Call):
            outcome, self._reply = self.session.call(step)
            self.report(outcome)
        elif isinstance(step, Think):
            self._pause_s = step.seconds * self.session.plan.think_scale


class Caller(_Customer):
    """One call after the other from the mix (closed model); pauses only after a failure."""

    def on_start(self) -> None:
        """Begins without a pause."""
        self._pause_s = 0.0

    def wait_time(self) -> float:
        """Seconds until the next call: as long as a refusal asks for."""
        return self._pause_s

    @task
    def call(self) -> None:
        """Makes one call."""
        outcome, _ = self.session.call(self.session.mix.draw())
        self.report(outcome)
        failed = outcome.name not in outcomes.ANSWERED
        self._pause_s = (outcome.retry_after_ms or FAILED_PAUSE_MS) / 1000.0 if failed else 0.0


class Arrivals(_Customer):
    """All calls of this process, each at its scheduled time (open model)."""

    @task
    def arrive(self) -> None:
        """Works through the schedule; returns when it and every call have ended."""
        self.session.run_schedule(self.report)

    def wait_time(self) -> float:
        """The schedule is worked through once; then the run's end is awaited."""
        return 1e6


USER_CLASSES = {"users": Shopper, "callers": Caller, "arrivals": Arrivals}


class PlannedShape(LoadTestShape):
    """Tells Locust how many users the plan's shape wants now."""

    # Locust takes shapes of the file by itself otherwise; the plan says whether there is one.
    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._environment = environment
        self._plan = read_plan(vars(environment.parsed_options))
        # What the last tick said; a new pair makes Locust begin anew.
        self._users, self._rate = 0, 1.0

    def tick(self) -> tuple[int, float] | None:
        """Users and users a second; None at the end."""
        shape = self._plan.shape
        assert shape is not None
        at_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        if at_s >= shape.duration_s + self._plan.drain_s:
            return None
        processes = max(self._environment.runner.worker_count, 1)
        if self._plan.open_model:
            # One user in each process makes all its calls.
            return processes, float(processes)
        users = round(shape.level(at_s) or 0.0)
        # Locust comes and goes at this rate, and warns above 100 a process.
        if users != self._users:
            change = abs(users - self._users)
            self._users, self._rate = users, float(min(change, MOST_SPAWNED_PER_S * processes))
        return self._users, self._rate


def add_options(parser: Any) -> None:
    """Adds our options to Locust's."""
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            type=type(option.default),
            default=option.default,
            choices=option.choices,
            help=f"{option.help} (default: {option.default})",
            include_in_web_ui=False,
        )
    # Set by the master for its workers.
    parser.add_argument(
        "--generators", type=int, default=1, include_in_web_ui=False, help="internal"
    )


def prepare(environment: Any, **_: Any) -> None:
    """Checks the options before anything is sent, and connects the parts."""
    options = environment.parsed_options
    try:
        plan = read_plan(vars(options))
        if options.thresholds:
            load_thresholds(Path(options.thresholds))
        session = Session(plan)
    except (PlanUnusable, ThresholdsUnusable, ShopUnreadable) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        sys.exit(UNUSABLE)
    setattr(environment, SESSION, session)
    environment.user_classes = [USER_CLASSES[plan.model]]
    # Users finish the call they are in.
    environment.stop_timeout = plan.drain_s
    runner = environment.runner
    if plan.shape is not None and not isinstance(runner, WorkerRunner):
        environment.shape_class = PlannedShape(environment)
        environment.shape_class.runner = runner
    if isinstance(runner, WorkerRunner):
        # A worker parses its defaults anew for each of a hundred options at each message of the
        # master, and sends nothing meanwhile: up to a second that the stack would be blamed for.
        argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
        environment.events.report_to_master.add_listener(
            lambda client_id, data: data.update({MESSAGE: session.drain()})
        )
    elif isinstance(runner, MasterRunner):
        environment.events.worker_report.add_listener(
            lambda client_id, data: session.merge(data[MESSAGE])
        )
    if environment.web_ui is not None:
        environment.web_ui.app.add_url_rule(
            "/cartwright", "cartwright", lambda: conclude(_run(environment), None).page()
        )


def begin(environment: Any, **_: Any) -> None:
    """A run begins, in the master and in each worker."""
    runner, session = environment.runner, getattr(environment, SESSION)
    if isinstance(runner, MasterRunner):
        environment.parsed_options.generators = max(runner.worker_count, 1)
        session.reset(environment.host or "")
    elif isinstance(runner, WorkerRunner | LocalRunner):
        # The master's options have arrived by now.
        plan = read_plan(vars(environment.parsed_options))
        environment.user_classes = [USER_CLASSES[plan.model]]
        session.begin(
            plan,
            address=environment.host or "",
            index=max(runner.worker_index, 0),
            processes=environment.parsed_options.generators,
            users=lambda: runner.user_count,
        )


def judge_run(environment: Any, **_: Any) -> None:
    """Writes the report and sets the exit code; prints the verdicts below Locust's own tables."""
    if isinstance(environment.runner, WorkerRunner) or not hasattr(environment, SESSION):
        return
    options = environment.parsed_options
    thresholds = load_thresholds(Path(options.thresholds)) if options.thresholds else None
    conclusion = conclude(_run(environment), thresholds)
    lines = conclusion.lines()
    if options.out:
        conclusion.write(Path(options.out))
        lines.append(f"report: {Path(options.out) / 'report.html'}")
    environment.process_exit_code = conclusion.exit_code
    environment.events.quit.add_listener(lambda **_: print("\n".join(lines), flush=True))


def _run(environment: Any) -> Run:
    session = getattr(environment, SESSION)
    return Run(
        plan=session.plan,
        address=session.address,
        began_at=session.began_at,
        record=session.record,
        defects=[str(found["msg"]) for found in environment.runner.exceptions.values()],
    )


# Untyped in Locust.
_hooks: Any = events
_hooks.init_command_line_parser.add_listener(add_options)
_hooks.init.add_listener(prepare)
_hooks.test_start.add_listener(begin)
_hooks.quitting.add_listener(judge_run)
