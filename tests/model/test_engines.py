"""What runs the networks: both engines behind one door, alike to within a level of a pixel."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssic
from helpers.engines import ENGINES, decoded_bytes, needs_torch
from helpers.loopback import serving
from helpers.masks import blob_mask
from helpers.pictures import natural_picture
from ssic.blocks import ABSENT
from ssic.engine import base, threads
from ssic.engine.bands import Band, layers, through
from ssic.engine.base import Engine, find_engine
from ssic.engine.inputs import index_inputs, pair_inputs, quality_input
from ssic.engine.onnx import OnnxEngine
from ssic.errors import EngineError, InvalidInput, ModelError
from ssic.imports import onnx_runtime
from ssic.model.weights import GRAPH_LOCATION, Weights, find_weights, load_weights, unpack_weights
from ssic.plan import make_plan
from ssic.storage.source import FIRST_BYTES

QUALITY = {0: 5, 1: 35, 2: 60, 3: 80, 4: 95, 5: 100}


@pytest.fixture(scope="module")
def small() -> Weights:
    return load_weights(find_weights("small"))


def random_blocks(kind: str) -> Weights:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from helpers.random_weights import KINDS, random_weights

    return unpack_weights(random_weights(0, KINDS[kind]))


@pytest.fixture(scope="module")
def tiny() -> Weights:
    return random_blocks("local")


@pytest.fixture(scope="module")
def gated() -> Weights:
    return random_blocks("gated")


@pytest.fixture(scope="module")
def sparse() -> Weights:
    """The second of two blocks attends, and neither the first nor the third."""
    return random_blocks("sparse")


@pytest.fixture(scope="module")
def dictionary() -> Weights:
    return random_blocks("dictionary")


def scene(seed: int, rows: int, columns: int, groups: int):
    ids = blob_mask(seed, rows, columns, groups)
    rng = np.random.default_rng(seed)
    blocks = rng.integers(60, 200, (ids.size, 4, 192), dtype=np.uint8)
    return ids, blocks


def check_alone_and_in_company(engine: Engine, ids: np.ndarray, blocks: np.ndarray) -> None:
    plan = make_plan(ids)
    y, z = engine.analyse(blocks, plan, QUALITY)
    pixels = engine.synthesise(np.rint(y), plan, QUALITY)
    assert (y.shape[0], z.shape[0]) == (len(plan), len(plan.pair_group))
    assert pixels.dtype == np.uint8
    for group in np.unique(ids):
        part = make_plan(ids, ids == group)
        own = ids.reshape(-1) == group
        y1, z1 = engine.analyse(blocks[own], part, QUALITY)
        np.testing.assert_array_equal(y1, y[own])
        np.testing.assert_array_equal(z1, z[plan.pair_group == group])
        np.testing.assert_array_equal(engine.synthesise(np.rint(y1), part, QUALITY), pixels[own])


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 21),
    columns=st.integers(1, 23),
    groups=st.integers(1, 6),
    threads=st.integers(1, 3),
)
def test_a_group_gives_the_same_bits_alone_and_in_company(
    engine, small, seed, rows, columns, groups, threads
):
    """Lists of all sizes, on any number of threads."""
    found = find_engine(engine, small)
    if found.threads != threads:
        found.threads = threads
    check_alone_and_in_company(found, *scene(seed, rows, columns, groups))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("rows", "columns", "groups"), [(1, 1, 1), (5, 3, 3), (13, 17, 5), (24, 30, 6)])
@pytest.mark.parametrize("name", ["tiny", "gated", "sparse", "dictionary"])
def test_so_do_networks_that_mix_neighbours(request, name, engine, rows, columns, groups):
    weights = request.getfixturevalue(name)
    check_alone_and_in_company(find_engine(engine, weights), *scene(rows, rows, columns, groups))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["small", "tiny", "sparse"])
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 75),
    columns=st.integers(1, 9),
    groups=st.integers(1, 5),
    band=st.integers(1, 300),
    threads=st.integers(1, 2),
)
def test_pictures_in_bands_are_what_they_are_at_once(
    request, name, engine, seed, rows, columns, groups, band, threads
):
    """Whatever the bands: of eight rows, of many, with rows in which nothing is wanted, at all offsets."""
    found = find_engine(engine, request.getfixturevalue(name))
    ids, blocks = scene(seed, rows, columns, groups)
    wanted = ids != (seed % 7 if groups > 1 else ABSENT)
    wanted[rows // 3 : rows // 3 + seed % 20] &= seed % 3 == 0
    plan = make_plan(ids, wanted)
    blocks = blocks[plan.block]
    y, z = found.analyse(blocks, plan, QUALITY)
    pixels = found.synthesise(np.rint(y), plan, QUALITY)
    found.band, found.threads = band, threads
    y1, z1 = found.analyse(blocks, plan, QUALITY)
    np.testing.assert_array_equal(y1, y)
    np.testing.assert_array_equal(z1, z)
    np.testing.assert_array_equal(found.synthesise(np.rint(y), plan, QUALITY), pixels)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_reached_raises_ends_the_work_within_a_stage(engine, small):
    found = find_engine(engine, small)
    found.band = 100
    ids, blocks = scene(5, 60, 9, 2)
    plan = make_plan(ids)
    shares: list[float] = []
    y, _ = found.analyse(blocks, plan, QUALITY, shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 8
    assert shares[-1] == 1
    latents = np.rint(y)
    expected = found.synthesise(latents, plan, QUALITY)

    class GivenUp(Exception):
        pass

    def at_half(share: float) -> None:
        if share > 0.5:
            raise GivenUp

    for work in (
        lambda: found.analyse(blocks, plan, QUALITY, at_half),
        lambda: found.synthesise(latents, plan, QUALITY, at_half),
    ):
        with pytest.raises(GivenUp):
            work()
    np.testing.assert_array_equal(found.synthesise(latents, plan, QUALITY), expected)


class Counted:
    """A runner that computes nothing, and notes what it is asked for."""

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = {}
        self.most = 0

    def begin(self, band: Band) -> np.ndarray:
        return self.layer(np.zeros((0, 1)), band)

    def layer(self, tokens: np.ndarray, band: Band) -> np.ndarray:
        self.done.setdefault(band.layer.name, []).extend(range(band.blocks.start, band.blocks.stop))
        self.most = max(self.most, len(tokens))
        return np.zeros((band.layer.gives * (band.blocks.stop - band.blocks.start), 1))

    def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros((1, 1)), *parts])

    def cut(self, tokens: np.ndarray, part: slice) -> np.ndarray:
        return tokens[part].copy()


@pytest.mark.parametrize("side", ["analysis", "synthesis"])
@pytest.mark.parametrize("attention_every", [1, 2, 3, 4])
def test_bands_compute_each_block_once_and_hold_a_few_rows(small, attention_every, side):
    config = replace(small.config, depths=(3, 3), local=True, attention_every=attention_every)
    plan = make_plan(np.zeros((1000, 20), np.uint8))
    counted = Counted()
    parts = list(through(plan, layers(config, side), counted, 400))
    assert len(parts) > 40
    assert len(counted.done) == 9
    for done in counted.done.values():
        assert done == list(range(len(plan)))
    assert sum(len(tokens) for _, tokens in parts) == len(plan) * layers(config, side)[-1].gives
    assert (
        counted.most <= 4 * 20 * (24 + 10) + 1
    )  # 400 blocks are 20 rows: 16 of a band, and some from the one before


@pytest.mark.parametrize("name", ["small", "tiny", "gated", "sparse", "dictionary"])
def test_engines_agree(name, request):
    pytest.importorskip("torch")
    weights = request.getfixturevalue(name)
    ids, blocks = scene(3, 20, 26, 5)
    plan = make_plan(ids)
    one, two = (find_engine(n, weights) for n in ("onnx", "torch:cpu:float32"))
    (y, z), (y2, z2) = one.analyse(blocks, plan, QUALITY), two.analyse(blocks, plan, QUALITY)
    np.testing.assert_allclose(y, y2, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(z, z2, rtol=1e-4, atol=1e-3)
    pixels, pixels2 = (e.synthesise(np.rint(y), plan, QUALITY).astype(int) for e in (one, two))
    assert np.abs(pixels - pixels2).max() <= 1
    assert (pixels != pixels2).mean() < 1e-3


@pytest.mark.parametrize("name", ["tiny", "gated", "sparse", "dictionary"])
def test_whole_graphs_give_what_their_layers_give(name, request):
    weights = request.getfixturevalue(name)
    ids, blocks = scene(3, 12, 16, 3)  # a multiple of 16 blocks: nothing is to be filled up
    plan = make_plan(ids)
    y, z = OnnxEngine(weights).analyse(blocks, plan, QUALITY)
    pixels = OnnxEngine(weights).synthesise(np.rint(y), plan, QUALITY)
    inputs = index_inputs(plan, local=True) | pair_inputs(plan) | {"quality": quality_input(plan, QUALITY)}
    inputs |= {"pixels": blocks.astype(np.float32), "latents": np.rint(y)}
    for side, expected in (("analysis", (y, z)), ("synthesis", (pixels,))):
        options = onnx_runtime().SessionOptions()
        data = weights.data
        options.add_external_initializers_from_files_in_memory([GRAPH_LOCATION], [data], [len(data)])
        session = onnx_runtime().InferenceSession(weights.graphs[side].tobytes(), options)
        found = session.run(None, {entry.name: inputs[entry.name] for entry in session.get_inputs()})
        for one, other in zip(found, expected, strict=True):
            tolerance = 1 if side == "synthesis" else 1e-3
            np.testing.assert_allclose(one, other.astype(np.float32), rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("name", ["tiny", "gated", "sparse", "dictionary"])
def test_graphs_need_no_float64(name, request):
    """Builds of ONNX Runtime with WebGPU have no kernels for it."""
    onnx = pytest.importorskip("onnx")
    for graph in request.getfixturevalue(name).graphs.values():
        model = onnx.load_model_from_string(graph.tobytes())
        typed = onnx.shape_inference.infer_shapes(model).graph
        kinds = {value.type.tensor_type.elem_type for value in (*typed.value_info, *typed.output)}
        assert onnx.TensorProto.FLOAT in kinds
        assert onnx.TensorProto.DOUBLE not in kinds


@pytest.mark.parametrize("writer", ENGINES)
def test_what_one_engine_writes_every_engine_reads(writer):
    """The latents are identical, the pixels within a level."""
    picture, mask = natural_picture(8, 150, 210), blob_mask(8, 10, 14, 4)
    codec = ssic.Codec.load(engine=writer)
    encoding = codec.encode(picture, mask, quality=70, latents=True)
    opened = ssic.SsicFile(encoding.data)
    decoded = [opened.decode(engine=reader).astype(int) for reader in ENGINES]
    for pixels in decoded[1:]:
        assert np.abs(pixels - decoded[0]).max() <= 1
    segments = {g.id: encoding.data[g.offset : g.offset + g.length] for g in opened.head.groups}
    for reader in ENGINES:
        loaded = ssic.Codec.load(engine=reader)
        _, latents, damaged = loaded.decode_latents(mask, dict.fromkeys(range(4), 70), segments)
        assert not damaged
        np.testing.assert_array_equal(latents, encoding.latents)


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_at_the_same_time_do_not_disturb_each_other(engine, small):
    found = find_engine(engine, small)
    ids, blocks = scene(4, 9, 14, 3)
    plan = make_plan(ids)
    expected = found.synthesise(np.rint(found.analyse(blocks, plan, QUALITY)[0]), plan, QUALITY)

    def once(_: int) -> bool:
        y, _ = found.analyse(blocks, plan, QUALITY)
        return np.array_equal(found.synthesise(np.rint(y), plan, QUALITY), expected)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(once, range(12)))


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_and_codecs_survive_pickling(engine):
    codec = ssic.Codec.load(engine=engine)
    again = pickle.loads(pickle.dumps(codec))
    assert again.engine.name == codec.engine.name == engine
    assert engine in repr(codec)
    picture = natural_picture(2, 40, 50)
    data = codec.encode(picture).data
    assert again.encode(picture).data == data
    assert len(pickle.dumps(codec.engine)) < 2000  # where the weights lie, not the weights


def test_an_engine_of_other_weights_is_refused(small, tiny):
    engine = find_engine("onnx", tiny)
    assert find_engine(engine, tiny) is engine
    with pytest.raises(EngineError, match="other weights"):
        find_engine(engine, small)
    with pytest.raises(EngineError, match="other weights"):
        ssic.Codec.load(engine=engine)


def test_an_engine_of_ones_own_is_taken(small):
    """The Protocol is all that a codec asks for."""

    class Gray:
        name = "gray"
        floats_id = small.floats_id
        threads = 1

        def analyse(self, blocks, plan, quality, reached=None):
            return np.zeros((len(plan), 320), np.float32), np.zeros((len(plan.pair_group), 48), np.float32)

        def synthesise(self, latents, plan, quality, reached=None):
            return np.full((len(plan), 4, 192), 128, np.uint8)

    data = ssic.encode(natural_picture(1, 40, 50), model="small", engine=Gray())
    assert (ssic.decode(data, engine=Gray()) == 128).all()


NONE_SUCH = ("", "nonesuch", "onnx:cuda", "torch:nonesuch", "torch:cpu:float16", "torch:cpu:float32:x")


@pytest.mark.parametrize("name", NONE_SUCH)
def test_engines_that_there_are_none_of(name):
    if name.startswith("torch"):
        pytest.importorskip("torch")
    with pytest.raises(EngineError, match=r"engine|device"):
        ssic.Codec.load(engine=name)


def test_an_engine_is_a_name_or_an_engine():
    for wrong in (None, 3, object()):
        with pytest.raises(InvalidInput, match="engine is a name or an Engine"):
            ssic.Codec.load(engine=wrong)


@pytest.mark.parametrize(
    ("engine", "package", "advice"),
    [("onnx", "onnxruntime", "onnxruntime"), ("torch", "torch", r"ssic\[torch\]")],
)
def test_a_missing_package_is_named(engine, package, advice, small, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=f"{package}.*{advice}"):
        find_engine(engine, small)


def test_weights_without_graphs_are_torchs(small):
    pytest.importorskip("torch")
    bare = Weights(small.config, small.id, {}, small.floats, small.twin, small.floats_id)
    assert find_engine("auto", bare).name.startswith("torch")
    with pytest.raises(ModelError, match="export-weights"):
        find_engine("onnx", bare)


@needs_torch
def test_auto_is_onnx_but_for_a_gpu(small, monkeypatch):
    monkeypatch.setattr(base, "_has_cuda", lambda: False)
    assert find_engine("auto", small).name == "onnx"
    monkeypatch.setattr(base, "_has_cuda", lambda: True)
    asked = []
    monkeypatch.setattr(base, "import_module", lambda name: asked.append(name) or pytest.skip.Exception)
    with pytest.raises(AttributeError):
        find_engine("auto", small)
    assert asked == ["ssic.engine.torch"]


def test_decoding_loads_no_torch(tmp_path):
    """Nor does anything that a user meets on the way."""
    path = tmp_path / "a.ssic"
    path.write_bytes(ssic.encode(natural_picture(1, 40, 50)))
    program = (
        "import sys, ssic\n"
        "picture = ssic.open(sys.argv[1]).decode()\n"
        "data = ssic.encode(picture)\n"
        "assert ssic.decode(data, engine='onnx').shape == picture.shape\n"
        "print(*{m.partition('.')[0] for m in sys.modules} & {'torch', 'onnx', 'matplotlib', 'scipy'})"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


FORKED = """
import os, sys, multiprocessing, ssic
engine, url, path = sys.argv[1:]
read, unread = ssic.open(url), [ssic.open(url), ssic.open(path)]
picture = read.decode(engine=engine)
data = ssic.encode(picture, engine=engine)
here = ssic.decode(data, engine=engine).tobytes()
def work(_):
    assert all((file.decode(engine=engine) == picture).all() for file in (read, *unread))
    return ssic.encode(picture, engine=engine) == data and ssic.decode(data, engine=engine).tobytes() == here
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(work, range(4)))
child = os.fork()
if child == 0:
    sys.exit(0 if work(0) else 1)  # through the interpreter's own end, where sessions are closed
assert os.waitpid(child, 0)[1] == 0
assert work(0)  # and the parent goes on
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to fork with")
@pytest.mark.parametrize("engine", ENGINES)
def test_children_of_a_process_that_has_coded_can_code(engine, tmp_path):
    """Also what lies in files and at URLs that were opened before the fork, whether or not they were read since."""
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    data = ssic.encode(natural_picture(1, 64, 400), quality=95)
    assert len(data) > FIRST_BYTES  # so that not all of it came when it was opened
    (tmp_path / "a.ssic").write_bytes(data)
    with serving({"a.ssic": data}) as server:
        arguments = [engine, server.url("a.ssic"), tmp_path / "a.ssic"]
        run = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, *arguments]
        subprocess.run(run, check=True, timeout=300)  # of seconds, were it not for other work


def test_a_gpu_is_refused_in_a_forked_child(small):
    torch = pytest.importorskip("torch")
    engine = find_engine("torch:cpu:float32", small)
    engine.device = torch.device("cuda")  # where there is none: the check comes before all use of it
    engine._process = os.getppid()
    ids, blocks = scene(4, 3, 3, 2)
    plan = make_plan(ids)
    for call in (
        lambda: engine.analyse(blocks, plan, QUALITY),
        lambda: engine.synthesise(np.zeros((9, 320), np.float32), plan, QUALITY),
    ):
        with pytest.raises(EngineError, match=r'get_context\("spawn"\), or use engine="onnx"'):
            call()


def test_the_runtime_reports_to_nobody(tmp_path):
    """ONNX Runtime's telemetry is off before it is first imported: no thread of it runs, nothing is kept on disk."""
    program = (
        "import os, ssic, numpy as np; ssic.encode(np.zeros((16, 16, 3), np.uint8), engine='onnx'); "
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    )
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], check=True, env=env)
    assert not list(tmp_path.iterdir())


def test_codecs_go_to_other_processes():
    data = ssic.encode(natural_picture(2, 40, 50))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(decoded_bytes, (data, "onnx")) == decoded_bytes(data, "onnx")


def test_threads_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(threads, "_core", lambda number: str(number // 2))
    monkeypatch.setattr(threads, "_control_group_share", lambda: None)
    assert threads.available_threads() == 2  # two hardware threads each
    monkeypatch.setattr(threads, "_control_group_share", lambda: 1.0)
    assert threads.available_threads() == 1
    monkeypatch.setattr(threads, "_control_group_share", lambda: 0.2)
    assert threads.available_threads() == 1
    monkeypatch.setattr(threads, "_control_group_share", lambda: None)
    for asked, used in (("1", 1), ("8", 2), ("0", 2), ("1,1", 1), ("many", 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert threads.available_threads() == used


def test_torch_keeps_the_threads_that_it_had(small):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    ids, blocks = scene(4, 9, 14, 3)
    engine = find_engine("torch:cpu", small)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: engine.analyse(blocks, make_plan(ids), QUALITY), range(6)))
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


@pytest.mark.parametrize(("free", "room"), [(80 * 10**9, 49), (8 * 10**9, 4), (10**9, 1)])
def test_a_gpu_has_room_for_so_many_processes(monkeypatch, free, room):
    torch = pytest.importorskip("torch")
    from ssic.engine.torch import most_processes

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    assert most_processes(torch.device("cuda")) == room
    assert most_processes(torch.device("cpu")) is None


def test_processors_take_any_number_of_processes(small):
    assert base.most_processes("onnx") is None
    if importlib.util.find_spec("torch") is not None:
        assert base.most_processes("torch:cpu", small) is None


def test_what_goes_wrong_in_the_runtime_is_an_engine_error(small):
    engine = OnnxEngine(small)
    ids, _ = scene(4, 3, 3, 2)
    with pytest.raises(EngineError, match="ONNX Runtime failed in synthesis"):
        engine.synthesise(np.zeros((9, 7)), make_plan(ids), QUALITY)


def test_pieces_have_about_as_much_to_do(small):
    """Also where windows are partly filled: of one group, whose windows hold from 1 to 64 tokens."""
    ids = blob_mask(5, 32, 48, 4)
    plan = make_plan(ids, ids == 1)
    stage = next(stage for stage in layers(small.config, "synthesis") if stage.tokens == 2 and stage.shift)
    band = Band(plan, stage, slice(0, len(plan)), (0, 32), 1, {})
    held = (band.windows.key >= 0).sum(1)
    assert held.min() < 16 < held.max(), "the windows are too alike to show anything"
    pieces = band.pieces(6, 16, 2)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([piece.tokens for piece in pieces])), np.arange(len(band))
    )
    assert len(pieces) % 2 == 0
    work = [piece.length + 8 * len(piece.key) for piece in pieces]
    assert max(work) <= 7 * 72  # of one window more than six full ones
    assert max(work) - min(work) <= 2 * 72
    for piece in pieces:
        np.testing.assert_array_equal(piece.own[: piece.length], piece.tokens + 1)
        slots = piece.scatter[: piece.length]
        np.testing.assert_array_equal(piece.gather.ravel()[slots], np.arange(piece.length))
        assert (piece.key.ravel()[slots] >= 0).all()
        assert (piece.key >= 0).sum() == piece.length
