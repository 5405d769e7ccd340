"""The RPC methods of cartwright.v1.Models."""

import asyncio

from serving.context import RequestContext
from serving.errors import InvalidRequest
from serving.ingress import encode
from serving.ingress.authorization import require_admin
from serving.ingress.call import Method, unary
from serving.ingress.health import MODELS
from serving.ingress.models import ModelsView, change_of, model_reply, step_message
from serving.ingress.status import GrpcContext
from serving.protos import commerce_pb2 as pb
from serving.settings import Settings
from serving.versions.admin import ModelAdmin

_DEFAULT_STEPS = 20
_MOST_STEPS = 1000


class ModelsMethods:
    """Shows what serves, and lets the admin change what should."""

    def __init__(self, settings: Settings, models: ModelsView, admin: ModelAdmin) -> None:
        self._models = models
        self._admin = admin
        self._token = settings.server.token()

        def method(name: str) -> Method:
            return Method(
                service=MODELS, name=name, default_deadline_ms=settings.deadlines.models_ms
            )

        self._list_models = method("ListModels")
        self._show_model = method("ShowModel")
        self._change_model = method("ChangeModel")
        self._list_steps = method("ListModelSteps")

    async def ListModels(  # noqa: N802 - gRPC's name
        self, request: pb.ListModelsRequest, grpc_context: GrpcContext
    ) -> pb.ListModelsReply:
        """Models with their readiness, and the hosts that serve them."""

        async def work(context: RequestContext) -> pb.ListModelsReply:
            return pb.ListModelsReply(
                models=self._models.models(),
                hosts=self._models.hosts(),
                meta=encode.meta(context.report()),
            )

        return await unary(self._list_models, request, grpc_context, work, pb.ListModelsReply)

    async def ShowModel(  # noqa: N802
        self, request: pb.ShowModelRequest, grpc_context: GrpcContext
    ) -> pb.ShowModelReply:
        """Every version of a model."""

        async def work(context: RequestContext) -> pb.ShowModelReply:
            self._require_admin(grpc_context)
            state = await asyncio.to_thread(self._admin.show, request.model)
            return model_reply(state, context.report())

        return await unary(self._show_model, request, grpc_context, work, pb.ShowModelReply)

    async def ChangeModel(  # noqa: N802
        self, request: pb.ChangeModelRequest, grpc_context: GrpcContext
    ) -> pb.ShowModelReply:
        """One step of a version."""

        async def work(context: RequestContext) -> pb.ShowModelReply:
            self._require_admin(grpc_context)
            state = await asyncio.to_thread(self._admin.change, change_of(request))
            return model_reply(state, context.report())

        return await unary(self._change_model, request, grpc_context, work, pb.ShowModelReply)

    async def ListModelSteps(  # noqa: N802
        self, request: pb.ListModelStepsRequest, grpc_context: GrpcContext
    ) -> pb.ListModelStepsReply:
        """The last steps that were taken with a model."""

        async def work(context: RequestContext) -> pb.ListModelStepsReply:
            self._require_admin(grpc_context)
            limit = request.limit or _DEFAULT_STEPS
            if not 1 <= limit <= _MOST_STEPS:
                raise InvalidRequest("limit", f"must be from 1 to {_MOST_STEPS}, got {limit}")
            entries = await asyncio.to_thread(self._admin.history, request.model, limit)
            return pb.ListModelStepsReply(
                steps=[step_message(entry) for entry in entries],
                meta=encode.meta(context.report()),
            )

        return await unary(self._list_steps, request, grpc_context, work, pb.ListModelStepsReply)

    def _require_admin(self, grpc_context: GrpcContext) -> None:
        require_admin(dict(grpc_context.invocation_metadata()), self._token)
