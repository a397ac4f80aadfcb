# rtdeblur on NVIDIA GPUs by TensorRT-RTX, with its models, the live page and Ray. From the root of the repository:
#   docker build -f containers/cuda.Dockerfile -t rtdeblur:cuda .
# The host needs NVIDIA's driver (580 or later) and its container toolkit; CUDA itself comes as Python packages.
#   docker run --rm --gpus all -v "$PWD:/media" rtdeblur:cuda video.mp4
FROM python:3.12.11-slim-bookworm AS build

RUN python -m venv /opt/rtdeblur
ENV PATH=/opt/rtdeblur/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/cuda.txt /src/requirements/cuda.txt
RUN pip install --require-hashes -r /src/requirements/cuda.txt
# After the packages, which change less often.
COPY pyproject.toml README.md LICENSE /src/
COPY docs/models /src/docs/models
COPY docs/rtdeblur.1 /src/docs/rtdeblur.1
COPY engines /src/engines
COPY rtdeblur /src/rtdeblur
RUN pip install --no-deps --no-build-isolation --no-index /src && rtdeblur models

FROM python:3.12.11-slim-bookworm

LABEL org.opencontainers.image.source="https://github.com/rtdeblur/rtdeblur" \
      org.opencontainers.image.licenses="MIT"
# /media must belong to this user, or be mounted with --user "$(id -u):$(id -g)".
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin rtdeblur && install -d -o rtdeblur /media
COPY --from=build /opt/rtdeblur /opt/rtdeblur
ENV PATH=/opt/rtdeblur/bin:$PATH PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0
# video: NVDEC and NVENC.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,video,utility
USER 10001
WORKDIR /media
EXPOSE 8765
# The page, if this container shows it; any other run is healthy while its process lives.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import socket; cmd = open('/proc/1/cmdline').read(); '--web' in cmd and socket.create_connection(('127.0.0.1', 8765), 5)"]
ENTRYPOINT ["rtdeblur"]
CMD ["--help"]
