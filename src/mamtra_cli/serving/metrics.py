"""What a server counts, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

FIRST_AUDIO = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
FACTORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "mamtra_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self._refusals = Counter(
            "mamtra_refusals", "Requests refused.", ["reason"], registry=registry
        )
        self._queue = Gauge("mamtra_queue_length", "Utterances not heard yet.", registry=registry)
        self._streams = Gauge("mamtra_streams", "Utterances under way.", registry=registry)
        self._model = Gauge("mamtra_model_loaded", "1 while the model is held.", registry=registry)
        self._audio = Counter("mamtra_audio_seconds", "Seconds of speech made.", registry=registry)
        self._work = Counter("mamtra_work_seconds", "Seconds of work.", registry=registry)
        self._first = Histogram(
            "mamtra_first_audio_seconds",
            "From the request to its first sound.",
            buckets=FIRST_AUDIO,
            registry=registry,
        )
        self._factor = Histogram(
            "mamtra_real_time_factor",
            "Seconds an utterance took over its length.",
            buckets=FACTORS,
            registry=registry,
        )

    def answered(self, endpoint: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(endpoint, str(status)).inc()

    def refuse(self, reason: str) -> None:
        """A request found no room."""
        self._refusals.labels(reason).inc()

    def loaded(self, held: bool) -> None:
        """The model was loaded or let go."""
        self._model.set(int(held))

    def worked(self, seconds: float, audio: float) -> None:
        """A step of the studio."""
        self._work.inc(seconds)
        self._audio.inc(audio)

    def first_audio(self, seconds: float) -> None:
        """An utterance was first heard."""
        self._first.observe(seconds)

    def spoken(self, audio: float, seconds: float) -> None:
        """An utterance ended."""
        self._factor.observe(seconds / audio)

    def text(self, streams: int, queued: int) -> bytes:
        """Everything, as Prometheus reads it, with what is under way and waiting now."""
        self._streams.set(streams)
        self._queue.set(queued)
        return generate_latest(self.registry)
