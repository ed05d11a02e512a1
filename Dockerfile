# One static binary on an empty base, run by a user without rights.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=container
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /pawl ./cmd/pawl \
 && mkdir -p /var/lib/pawl

FROM scratch
# The authorities that verified TLS connections to databases need.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /pawl /usr/local/bin/pawl
COPY --from=build --chown=65532:65532 /var/lib/pawl /var/lib/pawl
USER 65532:65532
WORKDIR /var/lib/pawl
# A volume at /var/lib/pawl has everything that `pawl init --tls` makes; a
# configuration of one's own is mounted at /etc/pawl.
EXPOSE 4566
HEALTHCHECK --interval=30s --timeout=6s --start-period=5s CMD ["/usr/local/bin/pawl", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/pawl"]
CMD ["serve"]
