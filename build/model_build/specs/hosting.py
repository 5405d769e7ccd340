"""How models are hosted by default on a machine without and with a GPU."""

from model_build.spec import BatchingPolicy, Hosting, InstanceGroup, Target

# On a CPU a batch is worked off one item after the other, so waiting for company gains nothing:
# what waits already is joined, nobody waits for more. A GPU does a batch in about the time of one
# item, so half a millisecond of waiting pays as soon as there is load.
_CPU_DELAY_MICROSECONDS = 0
_GPU_DELAY_MICROSECONDS = 500


def hosting(*, cpu_instances: int, max_queue_size: int | None) -> dict[Target, Hosting]:
    """One thread an instance on the CPU; one instance on the GPU.

    A queue policy turns off the prefetching of Triton's batcher. With a single fast instance,
    Triton 2.51 then misses wake-ups and lets requests wait for half a second (seen in 4 to 40 % of
    small bursts; never with two instances of a model that works for milliseconds). So models with
    one instance have no policy: `max_queue_size=None`.

    Two instances of one thread beat one of two: texts of different length need no padding to a
    common one, and no thread waits for another inside an operator.
    """
    return {
        "cpu": Hosting(
            instances=InstanceGroup(count=cpu_instances, kind="KIND_CPU", intra_op_threads=1),
            batching=BatchingPolicy(
                max_queue_delay_microseconds=_CPU_DELAY_MICROSECONDS,
                max_queue_size=max_queue_size,
            ),
        ),
        "gpu": Hosting(
            instances=InstanceGroup(count=1, kind="KIND_GPU", intra_op_threads=1),
            batching=BatchingPolicy(
                max_queue_delay_microseconds=_GPU_DELAY_MICROSECONDS,
                max_queue_size=None,
            ),
        ),
    }
