"""Every setting with its meaning, its default and its bounds, section by section."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from serving.settings.section import Milliseconds, Placement, Port, Positive, Section


class AdmissionSettings(Section):
    """Who is let in under load. Health and status always are."""

    max_in_flight: Annotated[int, Field(ge=1)] = 96
    """Calls in flight in a replica of the ingress at most; further ones are refused at once, with a
    retry-after. The limit falls below that while latencies leave their objectives."""
    min_in_flight: Annotated[int, Field(ge=1)] = 8
    """It never falls further."""
    mean_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a method's objective that its mean latency may reach before the limit falls: the
    objectives are for the 99th percentile."""
    window_ms: Annotated[float, Field(gt=0, le=600_000)] = 50.0
    """How often the limit is looked at."""
    step: Annotated[float, Field(gt=0)] = 1.0
    """By how many calls it rises in a window in which it refused somebody in vain."""
    retry_after_ms: Annotated[int, Field(ge=1)] = 250
    """What a refused caller is told to wait."""
    at_the_edge: bool = True
    """HAProxy keeps the limit too and refuses in the replicas' place, which is sooner and cheaper.
    Needs `server.ha_proxy`; replicas tell it their present limit if `server.direct_calls` is on."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_in_flight < self.min_in_flight:
            raise ValueError(
                f"max_in_flight ({self.max_in_flight}) is below min_in_flight "
                f"({self.min_in_flight})"
            )
        return self


class ServerSettings(Section):
    """The ingress: what clients connect to."""

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 lets other machines in; TLS and authentication are then the
    business of what stands before it."""
    grpc_port: Port = 9000
    """Port of the gRPC API. 0 takes a free one and prints it."""
    http_port: Port = 0
    """Port of Ray Serve's HTTP side (probes and metrics only). 0 takes a free one."""
    metrics_port: Port = 0
    """Port of Prometheus metrics (`/metrics`) of Ray, Ray Serve and the replicas. 0 takes a free
    one, which the run file names."""
    edge_metrics_port: Port = 0
    """Port of HAProxy's own Prometheus metrics (`/metrics`): calls refused at the edge,
    connections. 0 takes a free one, which the run file names."""
    admin_token: SecretStr | None = None
    """Whoever shows it may change which versions of models serve. `cartwright serve` makes one for
    each run if none is given; the run file, which only its owner can read, holds it."""
    reflection: bool = True
    """Answers gRPC server reflection, so that grpcurl needs no proto file."""
    ha_proxy: bool = True
    """HAProxy as the ingress instead of Ray Serve's Python proxy."""
    throughput_optimized: bool = True
    """Ray Serve's throughput-optimised mode (fewer threads and copies a request)."""
    direct_calls: bool = True
    """gRPC calls the ingress itself, without Ray Serve's wrapping of each call. Needs
    `throughput_optimized`; without that, calls take Ray Serve's way."""
    start_timeout_s: Positive = 120.0
    """How long `cartwright serve` waits until every deployment is healthy."""
    max_health_watchers: Annotated[int, Field(ge=1)] = 16
    """Open grpc.health.v1 Watch streams a replica; each holds one of Ray Serve's places."""
    admission: AdmissionSettings = AdmissionSettings()
    """Who is let in under load."""
    run_file: Path = Path("var/run/serve.json")
    """Written while the stack runs; tells the commands of this folder where it is."""
    drain_s: Positive = 2.0
    """How long a replica that leaves keeps serving, so that HAProxy turns away from it first."""

    def token(self) -> str:
        """The admin's token; "" while there is none."""
        return "" if self.admin_token is None else self.admin_token.get_secret_value()


class DeadlineSettings(Section):
    """Default deadlines in milliseconds, for clients that send none."""

    converse_ms: Milliseconds = 2000.0
    understand_ms: Milliseconds = 1000.0
    answer_ms: Milliseconds = 1000.0
    recommend_ms: Milliseconds = 1000.0
    decide_ms: Milliseconds = 1000.0
    record_events_ms: Milliseconds = 2000.0
    record_feedback_ms: Milliseconds = 5000.0
    knowledge_ms: Milliseconds = 5000.0
    models_ms: Milliseconds = 2000.0


class ObjectiveSettings(Section):
    """Latencies in milliseconds that 99 of 100 calls should keep to; overload is refused so that
    those who are let in do."""

    converse_ms: Milliseconds = 600.0
    understand_ms: Milliseconds = 300.0
    answer_ms: Milliseconds = 300.0
    recommend_ms: Milliseconds = 300.0
    decide_ms: Milliseconds = 300.0
    record_events_ms: Milliseconds = 300.0
    record_feedback_ms: Milliseconds = 2000.0
    knowledge_ms: Milliseconds = 2000.0


class LimitSettings(Section):
    """Bounds on what a request may hold; beyond them it is refused with the field's name."""

    max_text_chars: Annotated[int, Field(ge=1, le=100_000)] = 4096
    max_id_chars: Annotated[int, Field(ge=1, le=1024)] = 128
    max_top_k: Annotated[int, Field(ge=1, le=200)] = 100
    max_sources: Annotated[int, Field(ge=1, le=50)] = 20
    max_events: Annotated[int, Field(ge=1, le=10_000)] = 500
    max_feedback: Annotated[int, Field(ge=1, le=1_000)] = 100
    max_comment_chars: Annotated[int, Field(ge=1, le=4096)] = 1000
    max_articles: Annotated[int, Field(ge=1, le=1_000)] = 200
    max_article_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000


class PlacementSettings(Section):
    """Where each step runs: in the pipeline's replica, or as a deployment of its own."""

    understand: Placement = "inline"
    retrieve: Placement = "inline"
    generate_candidates: Placement = "inline"
    rank: Placement = "inline"
    decide: Placement = "inline"


class DeploymentSettings(Section):
    """Limits and scaling of one Ray Serve deployment."""

    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    target_ongoing_requests: Positive = 32.0
    """Autoscaling aims at so many requests in flight a replica; see `scaling`."""
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 128
    """Requests that a replica works on at once; the rest waits in the queue."""
    max_queued_requests: Annotated[int, Field(ge=0)] = 256
    """Requests that may wait; beyond that they are refused at once."""
    num_cpus: Annotated[float, Field(ge=0)] = 0.1
    """Logical CPUs that Ray reserves a replica; does not limit it."""
    health_check_period_s: Positive = 5.0
    health_check_timeout_s: Positive = 10.0
    graceful_shutdown_timeout_s: Positive = 10.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas ({self.max_replicas}) is below min_replicas ({self.min_replicas})"
            )
        return self


class DeploymentsSettings(Section):
    """Ray Serve deployments."""

    agent: DeploymentSettings = DeploymentSettings()
    """The ingress with the pipelines."""
    step: DeploymentSettings = DeploymentSettings()
    """Every step that is placed as a deployment."""
    step_hops_under_way: Annotated[int, Field(ge=1)] = 4
    """Hops that a replica has under way to the deployment of one step; calls that gather
    meanwhile share the next."""
    step_calls_a_hop: Annotated[int, Field(ge=1)] = 32
    """Calls in one hop at most."""
    host_health_check_period_s: Positive = 5.0
    host_health_check_timeout_s: Positive = 10.0
    host_graceful_shutdown_timeout_s: Positive = 10.0
    """Time for a leaving model host to finish its requests and end its tritonserver."""


class CoalescingSettings(Section):
    """Concurrent calls of one replica for one model, sent to Triton together."""

    max_under_way: Annotated[int, Field(ge=1)] = 2
    """Requests that a replica has under way to one host, all models together: as many as a model
    has instances. More would leave in smaller batches and wait there instead of here. Each model
    may have one, whatever the others have."""
    max_rows: Annotated[int, Field(ge=1)] = 16
    """Texts in one request, for models that read text. Others take their max_batch_size."""
    max_padding: Annotated[int, Field(ge=0)] = 8
    """Tokens by which texts in one request may differ in length; the shorter ones are padded."""
    max_waiting: Annotated[int, Field(ge=1)] = 256
    """Calls for one model that may wait in a replica; further ones are refused at once."""


class TritonSettings(Section):
    """Model hosts."""

    mode: Literal["managed", "external"] = "managed"
    """`managed`: the stack runs tritonserver itself; `external`: it is given as URLs."""
    urls: tuple[str, ...] = ()
    """host:port of the gRPC endpoint of each host, for `external`."""
    binary: str = "auto"
    """Path of tritonserver; `auto` takes the one of the nvidia-pytriton wheel."""
    backend_directory: str = "auto"
    """Triton's backends; `auto` makes one with ONNX Runtime behind the Python backend."""
    models: tuple[str, ...] = ("understanding", "encoder", "candidates", "ranker", "decision")
    """Models that must be ready before the stack says SERVING."""
    hosts: Annotated[int, Field(ge=1, le=64)] = 1
    """Managed hosts (one tritonserver each) that always run."""
    max_hosts: Annotated[int | None, Field(ge=1, le=64)] = None
    """Managed hosts that run at most, by load; as many as `hosts` if not given."""
    num_cpus: Annotated[float, Field(ge=0)] = 0.5
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    start_timeout_s: Positive = 60.0
    """From the start of the process until every model is ready."""
    probe_period_s: Positive = 1.0
    """How often readiness is looked at."""
    memory_reserve_mib: Annotated[int, Field(ge=0)] = 256
    """Memory that has to stay free when a further version of a model is loaded."""
    loading_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of a core with which a further version starts while others answer, one instance after
    the other; 1 starts it as fast as it can. Theirs are the cores that it would take."""
    unload_after_s: Positive = 5.0
    """How long a version stays loaded that is not wanted any more; longer than any call takes."""
    restart_backoff_s: Positive = 0.5
    """Pause before the second restart in a row; doubles up to 30 s."""
    log_folder: Path = Path("var/log/triton")
    """Output of tritonserver, one file a host; kept over restarts."""
    cache_folder: Path = Path("var/cache/triton")
    """Where the backend directory of `backend_directory: auto` is put together."""
    coalescing: CoalescingSettings = CoalescingSettings()
    """How a replica's concurrent calls for one model are sent together."""
    remembered_texts: Annotated[int, Field(ge=0)] = 0
    """Answers of the models that read text which a replica keeps for the same text again; 0 keeps
    none. Pays as far as customers repeat each other word for word."""
    model_repository: Path = Path("model_repository")

    @model_validator(mode="after")
    def _urls_match_mode(self) -> Self:
        if self.mode == "external" and not self.urls:
            raise ValueError("urls must name at least one host:port when mode is 'external'")
        if self.mode == "managed" and self.urls:
            raise ValueError("urls may only be given when mode is 'external'")
        return self

    @model_validator(mode="after")
    def _hosts_ordered(self) -> Self:
        if self.most_hosts < self.hosts:
            raise ValueError(f"max_hosts ({self.max_hosts}) is below hosts ({self.hosts})")
        return self

    @property
    def most_hosts(self) -> int:
        """Managed hosts that run at most."""
        return self.hosts if self.max_hosts is None else self.max_hosts


class ScalingSettings(Section):
    """How the numbers of replicas and model hosts follow the load, between their bounds:
    `deployments.agent` and `deployments.step` (min_replicas, max_replicas,
    target_ongoing_requests), `triton.hosts` and `triton.max_hosts`. What has equal bounds is not
    scaled."""

    dry_run: bool = False
    """Decisions are logged and not carried out."""
    period_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """How often load is reported and decided on; decisions are on the mean of three periods."""
    target_queue_ms: Milliseconds = 5.0
    """Time in Triton's queue that a request may wait; beyond it hosts are added."""
    target_pending: Positive = 4.0
    """Requests that may wait for one host, in its queues and at the replicas; beyond it hosts are
    added."""
    cool_down_up_s: Annotated[float, Field(ge=0)] = 5.0
    """Between two steps up; for hosts, from the moment when the last one was ready."""
    cool_down_down_s: Annotated[float, Field(ge=0)] = 60.0
    """How long the load must leave room without interruption before each step down."""
    stale_after_s: Positive = 10.0
    """A report that is older counts as missing."""
    log_folder: Path = Path("var/log/scaling")
    """Decisions, one file of JSON lines a deployment."""
    log_max_bytes: Annotated[int, Field(ge=10_000)] = 8_000_000
    """Size from which a file becomes the older one of two."""
    log_hold_period_s: Annotated[float, Field(ge=0)] = 10.0
    """Between two lines while nothing changes."""


class StoreSettings(Section):
    """Sessions, histories, knowledge, catalogue and orders."""

    folder: Path = Path("var/state")
    """One SQLite file a shop lies here."""
    shop: Path = Path("var/shop")
    """The shop that `cartwright models build` wrote; imported when its digest is new."""
    busy_timeout_ms: Milliseconds = 2000.0
    """How long a write waits for another process's."""


class DialogueSettings(Section):
    """How a conversation is held."""

    max_failures: Annotated[int, Field(ge=1)] = 2
    """So many turns in a row that are not understood lead to ESCALATE."""
    min_intent_confidence: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Below it a turn counts as not understood."""
    max_out_of_scope_probability: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Above it a turn counts as not understood."""
    min_answer_score: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Below it the agent says that it does not know."""
    orders_for_visitors: bool = True
    """Whether somebody without a customer id is told of an order by its number alone. A named
    customer is only ever told of their own."""
    default_top_k: Annotated[int, Field(ge=1)] = 5
    default_sources: Annotated[int, Field(ge=1)] = 3


class RecordingSettings(Section):
    """A sample of live requests to the models that read text, masked, for replays. Each replica
    writes its own segments into one folder below `stores.folder`."""

    enabled: bool = True
    per_second: Positive = 2.0
    """Requests that a replica records in a second at most."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the requests that is considered at all; the others are left out by chance."""
    max_text_chars: Annotated[int, Field(ge=1, le=4096)] = 1000
    """Longer texts are left out: a text that is cut may hold half of a name, and masking a very
    long one keeps the replica from its work."""
    max_waiting: Annotated[int, Field(ge=1)] = 256
    """Records that may wait to be written; further ones are left out."""
    segment_max_bytes: Annotated[int, Field(ge=1_000)] = 4_000_000
    """Compressed size from which a segment is closed."""
    segment_max_age_s: Positive = 3600.0
    """Age from which a segment is closed."""
    max_bytes: Annotated[int, Field(ge=2_000)] = 200_000_000
    """Size of all segments together; beyond it the oldest are deleted."""

    @model_validator(mode="after")
    def _holds_two_segments(self) -> Self:
        if self.max_bytes < 2 * self.segment_max_bytes:
            raise ValueError(
                f"max_bytes ({self.max_bytes}) is below twice segment_max_bytes "
                f"({self.segment_max_bytes})"
            )
        return self


class TelemetrySettings(Section):
    """Traces. A request that its caller sampled is traced; others by `sample_ratio`."""

    enabled: bool = True
    otlp_endpoint: str = "http://127.0.0.1:4318"
    """Base URL of an OTLP/HTTP collector (`/v1/traces` is appended)."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the requests without a traceparent that are traced."""
    service_name: str = "cartwright"
    export_delay_ms: Milliseconds = 1000.0
    """Longest time that a finished span waits for its export."""


class LedgerSettings(Section):
    """Which model versions, artifacts and settings answered which request."""

    enabled: bool = True
    folder: Path = Path("var/ledger")
    """Segments of all replicas of this machine."""
    segment_bytes: Annotated[int, Field(ge=1_048_576, le=1_073_741_824)] = 4_194_304
    """Size of a segment, allocated beforehand; an entry takes about 65 bytes."""
    segment_age_s: Positive = 86_400.0
    """A segment that is older is closed and the next one begun."""
    max_bytes: Annotated[int, Field(ge=2_097_152)] = 1_073_741_824
    """Of all segments together; beyond it the oldest are deleted. Those being written stay, so
    leave room for one a replica and as many more as you want to look back."""

    @model_validator(mode="after")
    def _room_for_two(self) -> Self:
        if self.max_bytes < 2 * self.segment_bytes:
            raise ValueError(
                f"max_bytes ({self.max_bytes}) is below twice segment_bytes ({self.segment_bytes})"
            )
        return self
