# Builds the gateway and puts the one binary into a small image.
#   docker build -t thinkwire .
#   docker run -p 8080:8080 -v thinkwire-data:/data thinkwire

FROM rust:1.95-bookworm AS build
WORKDIR /build

# The dependencies first, on empty sources: this layer is built again only when a manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/Cargo.toml
RUN mkdir -p src tests/it bench/src \
    && echo 'fn main() {}' | tee src/main.rs bench/src/main.rs > tests/it/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --package thinkwire \
    && rm -r src tests bench/src

# Now the sources. Their times may lie before the build above, so they are touched: cargo compares times.
COPY . .
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package thinkwire

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 thinkwire \
    && useradd --uid 10001 --gid thinkwire --no-create-home --shell /usr/sbin/nologin thinkwire \
    && install --directory --owner=thinkwire --group=thinkwire /data
COPY --from=build /build/target/release/thinkwire /usr/local/bin/thinkwire

ENV THINKWIRE_ENV=production \
    THINKWIRE__SERVER__LISTEN=0.0.0.0:8080 \
    THINKWIRE__STORE__URL=sqlite:///data/thinkwire.db

USER thinkwire
WORKDIR /data
VOLUME /data
EXPOSE 8080
# There is no HEALTHCHECK, because the image holds no HTTP client: point the orchestrator's probes at /healthz and
# /readyz. A stop sends SIGTERM, on which the gateway ends its streams in order.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/thinkwire"]
