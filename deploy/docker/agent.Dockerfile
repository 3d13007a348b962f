# The agent: one per host, root with a short list of capabilities (deploy/README.md).
#   docker build -f deploy/docker/agent.Dockerfile -t fleetprof-agent .
# The base moves within Debian 12 so that a rebuild has its security updates; pass a digest to freeze it.
ARG DEBIAN=debian:12-slim

FROM ${DEBIAN} AS builder
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV FLEETPROF_CACHE=/cache CARGO_HOME=/cache/cargo
WORKDIR /src
# The tools first, from the files that name them: a change of the sources reuses this layer.
COPY Cargo.toml ./
COPY scripts/ scripts/
RUN scripts/setup.sh build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN CI=true scripts/build.sh

FROM ${DEBIAN}
LABEL org.opencontainers.image.title="fleetprof-agent" \
      org.opencontainers.image.description="Samples the CPU of every process of a host with eBPF and streams it to a fleetprof collector" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/fleetprof/fleetprof"
COPY --from=builder /src/target/release/fleetprof-agent /usr/local/bin/
COPY deploy/docker/healthcheck.sh /usr/local/bin/healthcheck
VOLUME /var/lib/fleetprof-agent
EXPOSE 7172
# Reading other processes and loading eBPF programs needs uid 0; what root may do is for the caller to limit.
# hadolint ignore=DL3002
USER 0:0
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["healthcheck", "7172", "/healthz"]
ENTRYPOINT ["fleetprof-agent"]
CMD ["--help"]
