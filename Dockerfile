# syntax=docker/dockerfile:1
# --build-arg LOCK=image-full adds what AWS, Azure, Google Cloud, PKCS#11 tokens and backups to S3 need: 50 MB.
# The first stage makes a virtual environment with Sealwire in it, its core compiled; the second one holds that and
# no build tool.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*

# The dependencies first: their layer is made anew only when a lock changes. They are installed twice, because the
# core is compiled by their types; the extras of LOCK are for those who run it.
ARG LOCK=image
COPY requirements/build.txt requirements/runtime.txt requirements/image.txt requirements/image-full.txt requirements/sbom.txt requirements/
RUN python -m pip install --require-hashes -r requirements/build.txt -r requirements/runtime.txt \
 && python -m venv --without-pip /opt/sealwire \
 && python -m pip --python /opt/sealwire/bin/python install --require-hashes --no-compile \
        --only-binary :all: -r "requirements/${LOCK}.txt" \
 && python -m venv --without-pip /opt/sbom \
 && python -m pip --python /opt/sbom/bin/python install --require-hashes -r requirements/sbom.txt

COPY . .
# grep ends the build where the core is not compiled. compileall: nothing can be written at run time. unchecked-hash: no
# source file is looked at again. The list of parts (CycloneDX) is of what lies there, Sealwire with it.
RUN SEALWIRE_COMPILE=1 SEALWIRE_SHORT_SIV=1 python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m pip --python /opt/sealwire/bin/python install --no-deps --no-compile /wheels/sealwire-*.whl \
 && /opt/sealwire/bin/sealwire --version | grep 'compiled core, short AES-SIV' \
 && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON \
        --output-file /opt/sealwire/share/sealwire.cdx.json /opt/sealwire/bin/python \
 && /opt/sealwire/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/sealwire/lib

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="Sealwire" \
      org.opencontainers.image.description="MongoDB transparent encryption proxy" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that files mounted from the host can be given to it; no home, no shell. The folders give new volumes
# their owner.
RUN groupadd --gid 10127 sealwire \
 && useradd --uid 10127 --gid 10127 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sealwire \
 && install -d -o 10127 -g 10127 -m 0700 /var/log/sealwire /var/lib/sealwire-watch

COPY --from=build /opt/sealwire /opt/sealwire
ENV PATH=/opt/sealwire/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

USER 10127:10127
WORKDIR /
# 27017 for clients; 9464 for health checks and metrics, which belongs on a private network.
EXPOSE 27017 9464
STOPSIGNAL SIGTERM
# Longer than the 3 s that the command itself waits for an answer.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["sealwire", "healthcheck", "--config", "/etc/sealwire/sealwire.yaml"]
ENTRYPOINT ["sealwire"]
CMD ["serve", "--config", "/etc/sealwire/sealwire.yaml"]
