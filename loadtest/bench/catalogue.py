"""Every variant by name, with what it is asked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.bench import stack, workloads
from loadtest.bench.artifacts import UnderstandingFiles
from loadtest.bench.plan import Plan
from loadtest.bench.variants import Case, Variant
from loadtest.bench.workloads import Workload

STACK, STACK_DEPLOYMENTS = "stack", "stack-deployments"


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

    def customers(self) -> list[str]:
        """Customers of the shop."""
        lines = (self.shop / "customers.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["customer_id"] for line in lines]


def variants(materials: Materials, only: Sequence[str]) -> list[Variant]:
    """The variants that are asked for, in the order of the results."""
    makers = {
        STACK: _stack,
        STACK_DEPLOYMENTS: _stack_deployments,
    }
    return [make(materials) for name, make in makers.items() if not only or name in only]


NAMES = (STACK, STACK_DEPLOYMENTS)


def _stack(m: Materials) -> Variant:
    customers = m.customers()
    recommend = workloads.recommend(customers, np.random.default_rng(0), len(m.texts))
    few = m.plan.few_levels
    return Variant(
        name="stack inline",
        start=stack.starts_stack(stack.settings_of(m.repository, m.shop, stack.INLINE), m.folder),
        cases=(
            Case(workload=m.understand(), levels=m.plan.levels, half_load=True),
            Case(workload=workloads.answer(m.texts), levels=few),
            Case(workload=recommend, levels=few),
            Case(
                workload=workloads.converse(m.texts, customers),
                levels=m.plan.levels,
                half_load=True,
            ),
        ),
        idle=True,
    )


def _stack_deployments(m: Materials) -> Variant:
    customers = m.customers()
    recommend = workloads.recommend(customers, np.random.default_rng(0), len(m.texts))
    few = m.plan.few_levels
    return Variant(
        name="stack deployments",
        start=stack.starts_stack(
            stack.settings_of(m.repository, m.shop, stack.DEPLOYMENTS), m.folder
        ),
        cases=(
            Case(workload=m.understand(), levels=m.plan.levels),
            Case(workload=workloads.answer(m.texts), levels=few[-1:]),
            Case(workload=recommend, levels=few[-1:]),
            Case(workload=workloads.converse(m.texts, customers), levels=few),
        ),
    )
