# The request path: Ray Serve, pipelines, ingress. Models are served by Triton, either by NVIDIA's
# container beside this one (triton.mode: external) or by the wheel inside (triton.mode: managed).
#
#   docker build -t cartwright .
#   docker run --shm-size=2g -p 9000:9000 --user "$(id -u)" \
#       -v "$PWD/model_repository:/app/model_repository:ro" -v "$PWD/var:/app/var" cartwright
#
# --shm-size: Ray's object store and Triton's Python backend live in /dev/shm.
FROM python:3.11-slim-bookworm

RUN useradd --create-home cartwright
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY serving serving
COPY build/model_build build/model_build
RUN pip install --no-cache-dir --constraint constraints.txt '.[triton]'
COPY model_repository model_repository
RUN mkdir -p var && chown -R cartwright var model_repository
USER cartwright
# Behind -p, the loopback of the container is not enough.
ENV CARTWRIGHT_SERVER__HOST=0.0.0.0
EXPOSE 9000
# The standard health protocol; `cartwright status` would ask Ray as well, which takes seconds.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "from serving.client import CommerceClient; c = CommerceClient('127.0.0.1:9000', channels=1); raise SystemExit(c.health(deadline_ms=3000) != 'SERVING')"]
ENTRYPOINT ["cartwright"]
CMD ["serve"]
