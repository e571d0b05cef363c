# gentrain with its tests' environment, on a CPU:
#   docker build -t gentrain .
#   docker run --rm -v "$PWD/outputs:/gentrain/outputs" gentrain model=dcgan steps=1000
# On GPUs: docker run --gpus all; the wheel of torch carries CUDA.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /gentrain
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY src ./src
COPY conf ./conf
RUN make setup
ENV PATH=/gentrain/.venv/bin:$PATH
ENTRYPOINT ["gentrain"]
CMD ["--help"]
