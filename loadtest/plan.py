"""What a run is to do: read from the command line once, the same in every process of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from loadtest import shapes
from loadtest.arrivals import Spacing
from loadtest.mix import parse_mix
from loadtest.record import LEAST_SLOT_S, slot_length_s
from loadtest.shapes import Shape

# users: customers on journeys with think time (closed). callers: one call after the other from a
# mix, no pauses (closed). arrivals: calls from a mix by a schedule (open).
Model = Literal["users", "callers", "arrivals"]
ShapeName = Literal["none", "soak", "steps", "spike", "overload"]

MODELS: tuple[str, ...] = get_args(Model)
SHAPES: tuple[str, ...] = get_args(ShapeName)
SPACINGS: tuple[str, ...] = get_args(Spacing)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One command line option; its name doubles as the field of the parsed options."""

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] | None = None

    @property
    def flag(self) -> str:
        """As typed, e.g. "--hold-s"."""
        return "--" + self.name.replace("_", "-")


OPTIONS: tuple[Option, ...] = (
    Option(name="model", default="users", choices=MODELS, help="who makes the calls"),
    Option(
        name="shape",
        default="none",
        choices=SHAPES,
        help="load over time; none leaves it to Locust's --users and --run-time",
    ),
    Option(name="level", default=20.0, help="users, or calls a second: the height of the shape"),
    Option(name="factor", default=1.5, help="steps: from one to the next; spike: its height"),
    Option(name="steps", default=8, help="number of steps"),
    Option(name="ramp_s", default=5.0, help="soak: seconds of the rise, which is not judged"),
    Option(name="hold_s", default=30.0, help="seconds at each height"),
    Option(
        name="saturation_rps",
        default=0.0,
        help="overload: calls a second that saturate the stack, as found by the steps",
    ),
    Option(name="spacing", default="poisson", choices=SPACINGS, help="arrivals: gaps between them"),
    Option(name="mix", default="", help='callers and arrivals: e.g. "Converse=3,Recommend=1"'),
    Option(name="think_scale", default=1.0, help="users: multiplies the think times"),
    Option(name="call_deadline_ms", default=2000.0, help="deadline of each call, milliseconds"),
    Option(name="max_in_flight", default=512, help="arrivals: calls under way a process at most"),
    Option(name="channels", default=8, help="gRPC connections of each process"),
    Option(name="shop", default="var/shop", help="folder of the shop that load is made of"),
    Option(name="seed", default=1, help="for all draws; each process adds its number"),
    Option(name="thresholds", default="", help="YAML file of limits; exit code 1 beyond them"),
    Option(name="out", default="", help="folder for report.html, summary.json and CSV files"),
)


class PlanUnusable(ValueError):
    """The options do not make a run; names the option."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, with everything checked."""

    model: Model
    shape: Shape | None
    spacing: Spacing
    mix: Mapping[str, float]
    think_scale: float
    deadline_ms: float
    max_in_flight: int
    channels: int
    shop: Path
    seed: int
    known_peak_per_s: float

    @property
    def open_model(self) -> bool:
        """Whether calls arrive by a schedule."""
        return self.model == "arrivals"

    @property
    def slot_s(self) -> float:
        """Length of the record's slots in seconds."""
        if self.shape is None:
            return 2 * LEAST_SLOT_S
        return slot_length_s(self.shape.duration_s)

    @property
    def drain_s(self) -> float:
        """Seconds after the shape's end until every call has ended."""
        return self.deadline_ms / 1000.0 + 1.0


def read_plan(values: Mapping[str, Any]) -> Plan:
    """The plan that the options (by `Option.name`) describe.

    Raises:
        PlanUnusable: an option is out of bounds or does not fit the others.
    """
    model: Model = values["model"]
    if model == "arrivals" and values["shape"] == "none":
        raise PlanUnusable("--model arrivals: needs a --shape, which says how many arrive when")
    if values["shape"] == "overload" and model != "arrivals":
        raise PlanUnusable(
            f"--shape overload: only calls that do not wait for replies (--model arrivals) can "
            f"offer more than the stack carries, got --model {model}"
        )
    for name in ("call_deadline_ms", "max_in_flight", "channels"):
        if not values[name] > 0:
            raise PlanUnusable(f"--{name.replace('_', '-')}: must be above 0, got {values[name]:g}")
    for name in ("think_scale", "seed", "saturation_rps"):
        if not values[name] >= 0:
            raise PlanUnusable(
                f"--{name.replace('_', '-')}: must not be negative, got {values[name]:g}"
            )
    try:
        shape = _shape(values)
        mix = parse_mix(values["mix"])
    except ValueError as error:
        raise PlanUnusable(f"--shape {values['shape']} --mix {values['mix']!r}: {error}") from error
    return Plan(
        model=model,
        shape=shape,
        spacing=values["spacing"],
        mix=mix,
        think_scale=values["think_scale"],
        deadline_ms=values["call_deadline_ms"],
        max_in_flight=values["max_in_flight"],
        channels=values["channels"],
        shop=Path(values["shop"]),
        seed=values["seed"],
        known_peak_per_s=values["saturation_rps"],
    )


def _shape(values: Mapping[str, Any]) -> Shape | None:
    level, hold_s, factor = values["level"], values["hold_s"], values["factor"]
    match values["shape"]:
        case "soak":
            return shapes.soak(level=level, ramp_s=values["ramp_s"], hold_s=hold_s)
        case "steps":
            return shapes.steps(level=level, factor=factor, count=values["steps"], hold_s=hold_s)
        case "spike":
            return shapes.spike(
                level=level, factor=factor, before_s=hold_s, spike_s=hold_s, after_s=hold_s
            )
        case "overload":
            return shapes.overload(
                saturation=values["saturation_rps"],
                half_s=hold_s,
                peak_s=hold_s,
                twice_s=hold_s,
                recovery_s=max(hold_s, 8.0),
            )
        case _:
            return None
