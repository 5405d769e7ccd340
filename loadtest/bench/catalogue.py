"""Every variant by name, with what it is asked."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.bench import (
    aims,
    grpc_plain,
    null_model,
    ray_server,
    stack,
    triton_direct,
    workloads,
)
from loadtest.bench.artifacts import UnderstandingFiles
from loadtest.bench.children import starts_child
from loadtest.bench.plan import Plan
from loadtest.bench.variants import Case, Start, Variant
from loadtest.bench.workloads import Workload


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What the variants are made of."""

    plan: Plan
    repository: Path
    shop: Path
    # For logs and what is made on the way.
    folder: Path
    files: UnderstandingFiles
    texts: Sequence[str]
    # Index of the intent that the reference names, by index of the text.
    expected: dict[int, int]

    def understand(self) -> Workload:
        """Understand, with the intents that some of the replies have to name."""
        intents = json.loads((self.files.folder / "labels.json").read_text())["intents"]
        return workloads.understand(
            self.texts, {text: intents[index] for text, index in self.expected.items()}
        )

    def recommend(self, customers: Sequence[str]) -> Workload:
        """Recommend, for customers in random order."""
        return workloads.recommend(customers, np.random.default_rng(0), len(self.texts))

    def customers(self) -> list[str]:
        """Customers of the shop."""
        lines = (self.shop / "customers.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["customer_id"] for line in lines]


def variants(materials: Materials, only: Sequence[str]) -> list[Variant]:
    """The variants that are asked for, in the order of the results; without names, the plan's."""
    wanted = only or [name for name in NAMES if name not in materials.plan.without]
    return [make(materials) for name, make in _MAKERS.items() if name in wanted]


def _triton(m: Materials) -> Variant:
    return Variant(
        name="Triton directly",
        start=starts_child(
            triton_direct.NAME, ["--repository", str(m.repository), "--folder", str(m.folder)]
        ),
        cases=tuple(
            Case(
                workload=triton_direct.workload(m.files, m.texts, m.expected, batch),
                levels=m.plan.triton_levels,
            )
            for batch in _TRITON_BATCHES
        ),
    )


def _stack(m: Materials) -> Variant:
    customers = m.customers()
    few = m.plan.few_levels
    return Variant(
        name=aims.STACK,
        start=_starts_stack(m, m.repository, stack.INLINE),
        cases=(
            Case(workload=m.understand(), levels=m.plan.levels, half_load=True),
            Case(workload=workloads.answer(m.texts), levels=few),
            Case(workload=m.recommend(customers), levels=few),
            Case(
                workload=workloads.converse(m.texts, customers),
                levels=m.plan.levels,
                half_load=True,
            ),
        ),
        idle=True,
    )


def _overload(m: Materials) -> Variant:
    customers = m.customers()
    settings = stack.settings_of(m.repository, m.shop, stack.INLINE, limited=True)
    cases = (
        m.understand(),
        m.recommend(customers),
        workloads.converse(m.texts, customers),
    )
    return Variant(
        name=aims.OVERLOAD,
        start=stack.starts_stack(settings, m.folder),
        cases=tuple(
            Case(workload=workload, levels=m.plan.saturating, double_load=True)
            for workload in cases
        ),
    )


def _stack_deployments(m: Materials) -> Variant:
    customers = m.customers()
    few = m.plan.few_levels
    return Variant(
        name="stack deployments",
        start=_starts_stack(m, m.repository, stack.DEPLOYMENTS),
        cases=(
            Case(workload=m.understand(), levels=m.plan.levels),
            Case(workload=workloads.answer(m.texts), levels=few[-1:]),
            Case(workload=m.recommend(customers), levels=few[-1:]),
            Case(workload=workloads.converse(m.texts, customers), levels=few),
        ),
        idle=True,
    )


def _null(m: Materials) -> Variant:
    repository = null_model.make_null_repository(m.repository, m.folder / "null_repository")
    return Variant(
        name=aims.NULL,
        start=_starts_stack(m, repository, stack.ONE_AT_A_TIME),
        # Any intent is right: there is nothing behind it.
        cases=(Case(workload=workloads.understand(m.texts, {}), levels=m.plan.levels),),
    )


def _echo(m: Materials) -> Variant:
    return Variant(
        name=aims.ECHO,
        start=starts_child(ray_server.ECHO, []),
        cases=(Case(workload=workloads.understand(m.texts, {}), levels=m.plan.levels),),
        idle=True,
    )


def _ray_defaults(m: Materials) -> Variant:
    names = {"in the handler": ray_server.PLAIN, "serve.batch": ray_server.BATCHED}
    return Variant(
        name=aims.RAY_DEFAULTS,
        start=starts_child(ray_server.DEFAULTS, ["--repository", str(m.repository)]),
        cases=tuple(
            Case(
                workload=workloads.renamed(m.understand(), name, {"application": application}),
                levels=m.plan.levels,
            )
            for name, application in names.items()
        ),
    )


def _grpc_plain(m: Materials) -> Variant:
    return Variant(
        name=aims.PLAIN,
        start=starts_child(grpc_plain.NAME, ["--repository", str(m.repository)]),
        cases=(Case(workload=m.understand(), levels=m.plan.levels),),
    )


def _starts_stack(m: Materials, repository: Path, placement: Mapping[str, str]) -> Start:
    return stack.starts_stack(stack.settings_of(repository, m.shop, placement), m.folder)


_TRITON_BATCHES = (1, 8)
_MAKERS: dict[str, Callable[[Materials], Variant]] = {
    "triton": _triton,
    "stack": _stack,
    "stack-deployments": _stack_deployments,
    "overload": _overload,
    "null": _null,
    "echo": _echo,
    "ray-defaults": _ray_defaults,
    "grpc-plain": _grpc_plain,
}
NAMES = tuple(_MAKERS)
