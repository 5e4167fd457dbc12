# SQLite, libpq and OpenSSL are compiled into the program. The build image contains the tools for this: a C compiler,
# perl and make.
FROM rust:1-bookworm AS build
WORKDIR /candor
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/candor/target \
    cargo build --release --locked --features postgres-tls && cp target/release/candor /usr/local/bin/candor

FROM debian:bookworm-slim
# Candor needs the certificates for TLS connections, for example to the mail relay.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin candor \
    && install -d -o candor -g candor -m 0750 /data
COPY --from=build /usr/local/bin/candor /usr/local/bin/candor

USER candor
# Without PostgreSQL, the database file is in this folder. Without a mail relay, the emails are in this folder.
WORKDIR /data
VOLUME /data
ENV CANDOR_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["candor"]
CMD ["serve"]
