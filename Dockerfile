# Holdfast in a container: behind a proxy that ends TLS, since Twilio speaks https and wss only.
#
#   docker build -t holdfast .      # once config/phone.toml and config/tenants/ say who you are
#   docker run -p 8080:8080 -v ./config:/srv/holdfast/config -v holdfast-var:/srv/holdfast/var \
#       -e TWILIO_AUTH_TOKEN -e DEEPGRAM_API_KEY -e ANTHROPIC_API_KEY -e ELEVENLABS_API_KEY \
#       --stop-timeout 90 holdfast
#
# --stop-timeout: on SIGTERM running calls may finish for door.drain_s (60 s), then a goodbye; the default of 10 s would cut them.
FROM python:3.11-slim

# onnxruntime, which the embedded speech runs on, needs OpenMP's library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/holdfast
COPY requirements.lock .
RUN pip install --no-cache-dir --requirement requirements.lock

COPY pyproject.toml README.md ./
COPY engine engine
COPY web web
COPY simulators simulators
COPY holdfast holdfast
COPY config config
RUN pip install --no-cache-dir --no-deps . \
    && useradd --system --home-dir /srv/holdfast holdfast \
    && mkdir var \
    && chown holdfast var

USER holdfast
VOLUME /srv/holdfast/var
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]

# The port is open to the network, so TWILIO_AUTH_TOKEN has to be set: without it the server says so and ends.
CMD ["holdfast", "serve", "--config", "config/phone.toml", "--bind", "0.0.0.0:8080"]
