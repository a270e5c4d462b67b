# The program alone: NATS and Postgres are services of their own (docker-compose.yml).

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN docker/build.sh /out

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home bellwether \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/bellwether/spool
COPY --from=build /out/bellwether /usr/local/bin/bellwether
USER 10001
WORKDIR /etc/bellwether
ENTRYPOINT ["bellwether"]
