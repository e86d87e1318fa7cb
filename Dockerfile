# docker build -t defectaug .                                                           for CPUs
# docker build -t defectaug --build-arg TORCH=https://download.pytorch.org/whl/cu126 .  for NVIDIA GPUs; run with --gpus all
# docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" defectaug train data
#
# Folders are named relative to /work, where the images are mounted and models and results appear.
FROM python:3.12-slim

# The index of PyTorch's builds; CUDA's libraries come as wheels with those for GPUs.
ARG TORCH=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch torchvision --index-url "${TORCH}"

COPY pyproject.toml README.md LICENSE /src/
COPY defectaug /src/defectaug
RUN pip install --no-cache-dir /src && rm -rf /src

# Whoever runs it may be any user: caches go where all can write.
RUN useradd --create-home --uid 1000 defectaug && mkdir -p /work && chown defectaug /work
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONDONTWRITEBYTECODE=1
USER defectaug
WORKDIR /work
ENTRYPOINT ["defectaug"]
CMD ["--help"]
