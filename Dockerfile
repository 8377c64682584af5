# syntax=docker/dockerfile:1

# The cities of GeoNames are a package that only this stage installs, and the database is all that leaves it.
# It copies what the database is made from and nothing else, so that other changes of the source reuse its layer.
FROM node:24-bookworm-slim AS atlas
WORKDIR /app
COPY package.json package-lock.json ./
COPY tools ./tools
COPY service/package.json ./service/package.json
COPY service/tracing/package.json ./service/tracing/package.json
RUN npm ci --omit=dev --omit=optional --workspace=start-only --ignore-scripts --no-audit --no-fund
COPY service/errors.ts ./service/errors.ts
COPY service/atlas/load.ts service/atlas/database.ts service/atlas/schema.ts service/atlas/source.ts service/atlas/spelling.ts ./service/atlas/
RUN node service/atlas/load.ts .data/seed.db

# `--build-arg TRACING=true` adds OpenTelemetry (45 MB), which OTEL_EXPORTER_OTLP_ENDPOINT needs.
FROM node:24-bookworm-slim AS dependencies
ARG TRACING=false
WORKDIR /app
COPY package.json package-lock.json ./
COPY tools ./tools
COPY service/package.json ./service/package.json
COPY service/tracing/package.json ./service/tracing/package.json
RUN npm ci --omit=dev --workspace=service-only $([ "$TRACING" = true ] && echo --workspace=tracing-only) --include-workspace-root --ignore-scripts --no-audit --no-fund
# Without the package's own bin, which is built for npm only, npx finds the one of the service.
RUN npm pkg delete bin && ln -s ../../service/operator.ts node_modules/.bin/fastify-prism

# Node runs TypeScript as it is: what the tests saw is what runs here.
FROM node:24-bookworm-slim AS service
ENV NODE_ENV=production \
    PORT=3000 \
    DATABASE_PATH=/data/atlas.db
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=dependencies /app/package.json ./
COPY docs/operations.md ./docs/operations.md
COPY plugins ./plugins
COPY routes ./routes
COPY service ./service
COPY src ./src
COPY --from=atlas /app/.data/seed.db ./.data/seed.db
RUN mkdir /data && chown node:node /data
USER node
EXPOSE 3000
# Bash opens the connection itself: a check starts no Node.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf 'GET /healthz/ready HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
CMD ["node", "--disable-warning=ExperimentalWarning", "service/server.ts"]
