# mmpd-cache and mmpd-train on a CPU.
#   docker build -t mmpd .
#   docker run --rm -v "$PWD:/data" mmpd build starter starter.zarr
#   docker run --rm -v "$PWD:/data" --entrypoint mmpd-train mmpd align starter.zarr runs/align

# Two packages have no wheels and need a compiler, which the image that is kept does not have.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /mmpd
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cache_schema cache_schema
COPY pipeline pipeline
COPY trainer trainer
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt '.[pipeline,trainer,las]'

FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri && rm -rf /var/lib/apt/lists/*
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /data
ENTRYPOINT ["mmpd-cache"]
CMD ["--help"]
