"""ND4J's arithmetic of one workspace, from its description: what every counter is after every step."""

from dataclasses import dataclass, field

ROUNDING = {"1.0.0-M2.1": 32, "1.0.0-M1.1": 16}
COUNTERS = (
    "current_size",
    "current_offset",
    "this_cycle_allocations",
    "last_cycle_allocations",
    "max_cycle_allocations",
    "cycles_count",
    "generation_id",
    "step_number",
    "initial_block_size",
    "number_of_external_allocations",
    "spilled_size",
    "number_of_pinned_allocations",
    "pinned_size",
)


def grown(size, part):
    return size + int(float(size) * part)


def ring_block(size):
    larger = int(float(size) * 1.3)
    return larger + 8 - larger % 8


@dataclass
class Pages:
    """The counters of a workspace, under their public names, and what they depend on."""

    conf: dict
    rounding: int
    current_size: int = 0
    current_offset: int = 0
    this_cycle_allocations: int = 0
    last_cycle_allocations: int = 0
    max_cycle_allocations: int = 0
    cycles_count: int = 0
    generation_id: int = 0
    step_number: int = 0
    initial_block_size: int = 0
    number_of_external_allocations: int = 0
    spilled_size: int = 0
    number_of_pinned_allocations: int = 0
    pinned_size: int = 0
    pins: list = field(default_factory=list)
    in_use: bool = True
    is_sized: bool = False
    is_enlarged: bool = False
    has_wrapped: bool = False
    trimmed_at: int | None = None
    spills_everything: bool = False

    def __post_init__(self):
        self.ring = self.conf["policy_reset"] == "ENDOFBUFFER_REACHED"
        self.enlarges = self.conf["policy_allocation"] == "OVERALLOCATE"
        self.blocks = int(self.conf["overallocation_limit"] + 1) if self.ring and self.enlarges else 1
        self.learns = self.conf["policy_learning"] != "NONE"
        self.reallocates = self.conf["policy_spill"] == "REALLOCATE"
        self._commit(self.conf["initial_size"])

    def counters(self):
        return {name: getattr(self, name) for name in COUNTERS}

    # Memory.

    def allocate(self, nbytes):
        """Count a request; false if it is refused, and nothing has changed."""
        request = -(-nbytes // self.rounding) * self.rounding
        if not self.in_use:
            self._spill(request)
            return True
        block = self.initial_block_size if self.ring else 0
        too_much = 0 < block < self.this_cycle_allocations + request
        no_place = self.ring and 0 < self.current_size < request and not self.spills_everything
        pinned = too_much or no_place or self.trimmed_at is not None
        if not pinned and self._place(request):
            self.this_cycle_allocations += request
            return True
        if self.conf["policy_spill"] == "FAIL":
            return False
        if pinned and self.reallocates and self.trimmed_at is None:
            self.trimmed_at = self.step_number
        self.this_cycle_allocations += request
        if pinned:
            self.pins.append((self.step_number, request))
            self.number_of_pinned_allocations += 1
            self.pinned_size += request
        else:
            self._spill(request)
        return True

    def _place(self, request):
        if self.spills_everything or not self.current_size:
            return False
        if self.ring and self.current_offset + request > self.current_size:
            self.current_offset, self.has_wrapped = 0, True
        if self.current_offset + request > self.current_size:
            return False
        self.current_offset += request
        return True

    def _spill(self, request):
        self.number_of_external_allocations += 1
        self.spilled_size += request

    def _release(self):
        if self.number_of_external_allocations and (not self.ring or self.has_wrapped):
            self.number_of_external_allocations = self.spilled_size = 0
            self.has_wrapped = False

    # Cycles.

    def enter(self):
        if not self.ring:
            self.current_offset = 0
        self._release()
        self.this_cycle_allocations = 0
        self.generation_id += 1

    def close(self):
        self.cycles_count += 1
        self.step_number = (self.cycles_count - 1) // self.blocks
        self.in_use = True
        self.max_cycle_allocations = max(self.max_cycle_allocations, self.this_cycle_allocations)
        if self.learns and self.max_cycle_allocations:
            self._release()
            if not self.spills_everything and self._is_due():
                self.initialize()
        self._unpin()
        if self.trimmed_at is not None and self.trimmed_at + 2 < self.step_number:
            self.initialize()
            self.trimmed_at, self.current_offset = None, 0
        self.last_cycle_allocations, used = self.this_cycle_allocations, self.this_cycle_allocations
        if not self.ring:
            self.current_offset = 0
        elif self.current_size and self.trimmed_at is None and self.current_offset:
            self.current_offset += max(self.initial_block_size - used, 0)
        self.this_cycle_allocations = 0

    def _is_due(self):
        if self.current_size:
            return self.reallocates and not self.ring and self.this_cycle_allocations > 0
        wanted = self.conf["cycles_before_initialization"]
        return self.conf["policy_learning"] == "FIRST_LOOP" or 0 < wanted <= self.cycles_count

    def _unpin(self):
        while self.pins and self.pins[0][0] + 2 < self.step_number:
            _, request = self.pins.pop(0)
            self.number_of_pinned_allocations -= 1
            self.pinned_size -= request

    # Sizes.

    def initialize(self):
        """Learn the size, grow it, or build a ring anew."""
        largest = max(self.max_cycle_allocations, self.this_cycle_allocations)
        outgrown = self.reallocates and not self.ring and self.current_size < largest
        if not self.learns:
            limit = self.conf["max_size"]
            if outgrown and not 0 < limit <= self.max_cycle_allocations:
                self.current_size = self.current_offset = 0
                self.number_of_external_allocations = self.spilled_size = 0
            return
        if outgrown and self.current_size:
            self._outgrow(self._capped(largest))
        if self.trimmed_at is not None and self.trimmed_at + 2 < self.step_number:
            self.is_sized = self.is_enlarged = False
        if self.is_sized:
            return
        size = self._capped(self.max_cycle_allocations)
        if self.ring:
            size = self.max_cycle_allocations = ring_block(size)
        self.initial_block_size = size
        self._release()
        self._commit(max(self._enlarged(size), self.conf["min_size"]))

    def _outgrow(self, wanted):
        if self.current_size < self.max_cycle_allocations:
            self.initial_block_size = self._capped(self.max_cycle_allocations)
        if self.current_size < wanted:
            self.is_sized, self.current_offset = False, 0
            self.number_of_external_allocations = self.spilled_size = 0

    def _commit(self, size):
        self.current_size = self._capped(self._enlarged(size))
        self.is_sized = self.current_size > 0

    def _capped(self, size):
        return min(size, self.conf["max_size"] or size)

    def _enlarged(self, size):
        part = self.conf["overallocation_limit"]
        if not self.enlarges or self.is_enlarged or not part or not size:
            return size
        self.is_enlarged = True
        return grown(size, part)
