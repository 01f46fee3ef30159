# syntax=docker/dockerfile:1
# The same sources and base images give the same binary: pinned toolchain, locked dependencies, no path or time of the
# build in it. For the same image too, give both bases by digest and build with
#   docker buildx build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) --output type=image,rewrite-timestamp=true .
ARG RUST_IMAGE=docker.io/library/rust:1.91-bookworm
# Same Debian release as the toolchain's: the binary asks for that glibc.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
ARG SOURCE_DATE_EPOCH=0
# The commit, for --version: there is no repository in here to ask (--build-arg REVISION=$(git rev-parse HEAD)).
ARG REVISION=unknown
ENV CARGO_INCREMENTAL=0 \
    CARGO_TARGET_DIR=/target \
    RUSTFLAGS="--remap-path-prefix=/build=. --remap-path-prefix=/usr/local/cargo=cargo"
WORKDIR /build

# Distroless has no shell and no curl, so the health check is a program: the smallest one that can tell 200 from the rest.
COPY <<'EOF' /probe/main.rs
use std::{env, io::{Read, Write}, net::TcpStream, process::exit, time::Duration};

fn main() {
    let listen = env::var("SCANLOGIN_ADMIN_LISTEN").unwrap_or_default();
    let port = listen.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(8081u16);
    let healthy = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    exit(!healthy().unwrap_or(false) as i32);
}
EOF

RUN rustc --edition 2021 -C opt-level=z -C panic=abort -C strip=symbols -o /probe/livez /probe/main.rs

# .dockerignore admits what cargo needs and nothing else.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    REVISION=${REVISION} cargo build --locked --release --package scanlogin --bin scanlogin \
    && install -D -m 0555 /target/release/scanlogin /out/scanlogin \
    && install -D -m 0555 /probe/livez /out/livez

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="scanlogin" \
      org.opencontainers.image.description="Scan to log in: a browser shows a QR code, a phone scans it, the browser is logged in" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/scanlogin /out/livez /usr/local/bin/
# The default, loopback, would answer nobody outside the container.
ENV SCANLOGIN_LISTEN=0.0.0.0:8080 \
    SCANLOGIN_ADMIN_LISTEN=0.0.0.0:8081
# By number, so that runAsNonRoot can tell without a passwd file.
USER 65532:65532
EXPOSE 8080 8081
# Not /readyz: a draining instance is healthy. Kubernetes ignores this and uses the chart's probes.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/livez"]
ENTRYPOINT ["/usr/local/bin/scanlogin"]
