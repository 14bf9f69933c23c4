"""Draw a shape from every camera of a rig. No other file imports pyrender.

    with closing(Renderer(ViewSpec(rig=RIGS["ring12"]))) as renderer:     # one per process, in one thread
        pictures = renderer.render(shape)                                 # shape from geometry.normalized

pyrender only makes the context without a window, on a GPU or in software. Its own drawing is too slow on a CPU: multisampling and a
physically based light model take nearly all the time. For a ball of 20,480 triangles, one thread needs 41 ms per view with pyrender and
9 ms here. We draw at twice the size without multisampling and average, use the simple shaders in `shaders/` with one draw call per
material, and read back only colours.

No other code in the process may use OpenGL, because the last context that was made is the active one. `PYOPENGL_PLATFORM` becomes `egl`
unless it is set. Set `LP_NUM_THREADS=1` if several renderers share a machine.

Letters: V views, H x W pixels, n vertices, F triangles, C corners (3 F).
"""

import contextlib
import ctypes
import functools
import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache_schema.errors import UserError
from cache_schema.spec import CameraRig, ViewSpec
from cache_schema.terminal import counted
from pipeline.cameras import poses
from pipeline.choosing import Judge, candidates
from pipeline.coincident import BOTH
from pipeline.geometry import FAINT, FINE, GREY, Cloud, Geometry, Mesh, Part, extent
from pipeline.points import surface
from pipeline.smooth import smooth

os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
try:
    with warnings.catch_warnings():
        # PyOpenGL 3.1.0 and pyrender 0.1.45 are older than Python 3.11 and use what it deprecates.
        warnings.simplefilter("ignore")
        import pyrender
        from OpenGL import GL
        from OpenGL.GL import shaders
except (ImportError, AttributeError) as error:  # PyOpenGL lets AttributeErrors through where a library is missing
    raise ImportError(f"no OpenGL through {os.environ['PYOPENGL_PLATFORM']}; Debian: apt-get install libegl1 libgl1-mesa-dri") from error

OVERSAMPLING: Final = 2
"""Factor by which pictures are drawn larger in each direction before they are averaged."""

SMOOTH_FACES: Final = 100_000
"""Most triangles of a part that gets smooth normals. In larger parts each triangle is smaller than a pixel, so flat shading looks the
same."""

CONTRAST: Final = 8
"""Least difference from the background, in 255 levels. A shape needs it in a fiftieth of its pixels to be visible."""

SPLATS: Final = 100_000
"""Most points of a cloud that are drawn."""


class Pictures(NamedTuple):
    rgb: np.ndarray
    """[V, H, W, 3] uint8."""
    pose: np.ndarray
    """[V, 4, 4] float32, camera to world. A camera looks along its -Z; +Y points up in the picture."""
    depth: np.ndarray | None
    """[V, H, W] float16, distance along the optical axis, 0 where nothing is. None if the specification asks for no depth."""
    warnings: tuple[str, ...] = ()
    """Problems of pictures that could be drawn."""
    choosing: float = 0.0
    """Seconds that it took to choose the cameras, if they were chosen."""


class Shot(NamedTuple):
    """What one pixel after another sees of a mesh from one pose. A see-through (blended) surface is not seen."""

    rgb: np.ndarray | None
    """[H, W, 3] uint8, with light and shade; None if no colours were asked for."""
    depth: np.ndarray
    """[H, W] float64, distance along the optical axis, exact at the middle of each pixel up to the 24 bits of the depth buffer; 0 where
    nothing is."""
    part: np.ndarray
    """[H, W] int32: number of the part in `Mesh.parts`; -1 where nothing is."""


@dataclass
class Drawable:
    """Buffers of a part in OpenGL, and how to draw them."""

    mode: int
    count: int
    one_sided: int
    """Number of corners, the last ones of `count`, whose triangles are drawn only if they face the camera."""
    array: int
    buffers: list[int]
    image: int | None
    traits: frozenset[str]
    """Names that are defined in the shader, which choose its variant."""
    uniforms: dict[str, Any]
    passes: list[tuple[tuple[float, float], bool]]
    """(range of alpha to draw, whether to blend) for each time that the part is drawn."""


class Renderer:
    """Draws shapes with one specification. `render` deletes all buffers and textures of a shape before it returns."""

    def __init__(self, spec: ViewSpec, oversampling: int = OVERSAMPLING, judge: Judge | None = None) -> None:
        """Make a renderer.

        Args:
            spec: size, background, field of view, and how cameras are chosen.
            oversampling: factor by which pictures are drawn larger before they are averaged. With 1 each pixel sees one exact ray, which
                `shots` needs.
            judge: the cheap teacher of `spec.policy`, if that names one.

        Raises:
            UserError: no OpenGL context can be made.
        """
        _context()
        self.spec = spec
        self._judge = judge
        self._sketch = (
            None if spec.policy is None else Renderer(replace(spec, size=spec.policy.size, depth=True, policy=None), oversampling)
        )
        """Draws the small pictures by which cameras are chosen."""
        self._large = _framebuffer(spec.size * oversampling)
        self._small = _framebuffer(spec.size)
        self._programs: dict[frozenset[str], Program] = {}

    def render(self, geometry: Geometry, pose: NDArray[np.float32] | None = None) -> Pictures:
        """Draw all views of a shape.

        Args:
            geometry: the shape.
            pose: cameras to draw from. [V, 4, 4]. None: those of the rig, or those that `ViewSpec.policy` chooses among them.

        Raises:
            UserError: nothing can be seen in a view.
        """
        if isinstance(geometry, Cloud):
            splats = _splats(geometry)
            vertices, radius = splats.vertices, float(splats.radius.max())
        else:
            vertices, radius = np.concatenate([extent(part) for part in geometry.parts]), 0.0
            if any(part.outline is not None for part in geometry.parts):
                radius = float(np.linalg.norm(np.ptp(vertices, axis=0))) / FINE  # outlines are this precise
        faint: list[int] = []
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        center, size = (low + high) / 2, float(np.linalg.norm(high - low)) / 2 + radius
        with _uploaded(splats if isinstance(geometry, Cloud) else geometry.parts) as drawables:
            choosing = 0.0
            if pose is None:
                rig = self.spec.rig
                if self._sketch is not None:
                    start = time.perf_counter()
                    rig = self._chosen(geometry, poses(rig, vertices, radius), drawables, center, size)
                    choosing = time.perf_counter() - start
                pose = poses(rig, vertices, radius)
            views = list(self._views(pose, drawables, center, size, faint))
        depths = [depth.astype(np.float16) for _, depth in views if depth is not None]
        warned = (f"the shape cannot be told from the background in {len(faint)} of {counted(len(pose), 'view')}",) if faint else ()
        return Pictures(np.stack([color for color, _ in views]), pose, np.stack(depths) if depths else None, warned, choosing)

    def _chosen(
        self, geometry: Geometry, pose: NDArray[np.float32], drawables: list[Drawable], center: np.ndarray, size: float
    ) -> CameraRig:
        """Choose cameras of the rig for a shape. They are framed anew afterwards, as a rig of their own.

        Args:
            geometry: the shape.
            pose: all cameras. [C, 4, 4]
            drawables: the shape, uploaded. It lies within `size` around `center`.
        """
        sketch, policy, rig = self._sketch, self.spec.policy, self.spec.rig
        assert sketch is not None and policy is not None
        drawn = [sketch._picture(matrix, drawables, center, size) for matrix in pose.astype(np.float64)]
        depth = np.stack([depth for _, depth, _ in drawn])  # [C, H, W]
        shown = np.array([picture[..., 3].any() for picture, _, _ in drawn])
        # A sheet seen from its edge is a line, and four views of a picture on a wall could have two of these. Of a needle lines are all
        # there is.
        faces = np.array([filled for _, _, filled in drawn])
        if any(filled and not _faint(picture, self.spec.background) for picture, _, filled in drawn):
            shown &= faces
        embedded = None if self._judge is None else self._judge(np.stack([_opaque(picture) for picture, _, _ in drawn]))
        found = candidates(surface(geometry, policy.points), pose, depth, rig.fov, shown, embedded)
        return replace(rig, cameras=tuple(rig.cameras[camera] for camera in found.greedy(policy)))

    def shots(self, mesh: Mesh, pose: np.ndarray, colors: bool) -> Iterator[Shot]:
        """Yield what is seen from given poses. The renderer must draw depth, without oversampling.

        Args:
            mesh: less than 2**24 parts; `geometry.normalized` should have removed what is invisible.
            pose: `[V, 4, 4]`, camera to world, as in `Pictures.pose`.
            colors: whether to draw colours, too.
        """
        assert self.spec.depth and self._large.size == self._small.size and len(mesh.parts) < 2**24
        vertices = np.concatenate([extent(part) for part in mesh.parts])
        low, high = vertices.min(axis=0).astype(np.float64), vertices.max(axis=0).astype(np.float64)
        with _uploaded(mesh.parts) as drawables:
            for matrix in pose.astype(np.float64):
                near, far, projection = self._range(matrix, (low + high) / 2, float(np.linalg.norm(high - low)) / 2)
                rgb = None
                if colors:
                    self._draw(drawables, np.linalg.inv(matrix), projection)
                    rgb = _opaque(self._colors())
                self._draw(drawables, np.linalg.inv(matrix), projection, numbers=range(len(drawables)))
                code = self._colors().astype(np.int32)
                part = np.where(code[..., 3] > 0, code[..., 0] + 256 * code[..., 1] + 65536 * code[..., 2], -1).astype(np.int32)
                yield Shot(rgb, self._depth(near, far), part)

    def describe(self) -> str:
        """Name the OpenGL driver and the software that draw, for records."""
        return (
            f"{GL.glGetString(GL.GL_RENDERER).decode()}, OpenGL {GL.glGetString(GL.GL_VERSION).decode()}, pyrender {pyrender.__version__}"
        )

    def close(self) -> None:
        """Free the buffers and programs of this renderer. The context lives as long as the process."""
        for framebuffer in (self._large, self._small):
            GL.glDeleteFramebuffers(1, [framebuffer.id])
            GL.glDeleteRenderbuffers(2, framebuffer.buffers)
        for program in self._programs.values():
            GL.glDeleteProgram(program.id)
        self._programs.clear()
        if self._sketch is not None:
            self._sketch.close()

    def _views(
        self, pose: np.ndarray, drawables: list[Drawable], center: np.ndarray, size: float, faint: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield colour `[H, W, 3]` and depth `[H, W]` of each view. The shape lies within `size` around `center`. Numbers of views in which
        the shape looks like the background are added to `faint`."""
        for index, matrix in enumerate(pose.astype(np.float64)):
            picture, depth, _ = self._picture(matrix, drawables, center, size)
            if not picture[..., 3].any():
                raise UserError(f"view {index} has nothing in it: the shape is invisible (transparent, or too thin to be seen)")
            if _faint(picture, self.spec.background):
                faint.append(index)
            yield _opaque(picture), depth if self.spec.depth else None

    def _picture(
        self, matrix: np.ndarray, drawables: list[Drawable], center: np.ndarray, size: float
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Draw one view. Returns colour `[H, W, 4]`, whose alpha is 0 where nothing is; depth `[H, W]`, which is all 0 unless the
        specification asks for it; and whether surfaces are seen, not just outlines. Arguments as in `_views`."""
        near, far, projection = self._range(matrix, center, size)
        self._draw(drawables, np.linalg.inv(matrix), projection)
        picture = self._colors()
        filled = bool(picture[..., 3].any())
        if not filled:
            # A thin sheet seen from its edge may cover no centre of a pixel. Its outline does.
            GL.glPolygonMode(GL.GL_FRONT_AND_BACK, GL.GL_LINE)
            self._draw(drawables, np.linalg.inv(matrix), projection, outlines=True)
            GL.glPolygonMode(GL.GL_FRONT_AND_BACK, GL.GL_FILL)
            picture = self._colors()
        return picture, self._depth(near, far) if self.spec.depth else np.zeros((self.spec.size, self.spec.size)), filled

    def _range(self, matrix: np.ndarray, center: np.ndarray, size: float) -> tuple[float, float, np.ndarray]:
        """Return the nearest and farthest distance that a camera draws, and its projection `[4, 4]`. All lies within `size` of `center`."""
        distance = float((matrix[:3, 3] - center) @ matrix[:3, 2])
        near, far = max(distance - 1.01 * size, 0.05 * size), distance + 1.01 * size
        camera = pyrender.PerspectiveCamera(math.radians(self.spec.rig.fov), znear=near, zfar=far)
        return near, far, camera.get_projection_matrix(1, 1)

    def _draw(
        self, drawables: list[Drawable], view: np.ndarray, projection: np.ndarray, outlines: bool = False, numbers: Sequence[int] = ()
    ) -> None:
        """Draw into the large framebuffer, and average into the small one.

        With `outlines`, triangles that face away are drawn, too. With `numbers`, each drawable is drawn in its number, with red as the
        lowest byte, and what is blended is not drawn.
        """
        size = self._large.size
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._large.id)
        GL.glViewport(0, 0, size, size)
        GL.glEnable(GL.GL_DEPTH_TEST)
        GL.glEnable(GL.GL_PROGRAM_POINT_SIZE)
        GL.glBlendFuncSeparate(GL.GL_SRC_ALPHA, GL.GL_ONE_MINUS_SRC_ALPHA, GL.GL_ONE, GL.GL_ONE)
        GL.glDepthMask(True)
        GL.glClearColor(*(c / 255 for c in self.spec.background), 0)  # alpha 0, so that alpha tells where the shape is
        GL.glClear(GL.GL_COLOR_BUFFER_BIT | GL.GL_DEPTH_BUFFER_BIT)
        frame = {"view": view, "projection": projection, "pixels": projection[1, 1] * size / 2, "up": view[:3, 1]}
        for blended in (False,) if numbers else (False, True):
            for index, drawable in enumerate(drawables):
                if numbers:
                    drawable = replace(drawable, traits=drawable.traits | {"NUMBER"})
                    frame["number"] = np.array([numbers[index] >> shift & 255 for shift in (0, 8, 16)]) / 255
                for keep, is_blended in drawable.passes:
                    if is_blended == blended:
                        self._draw_one(drawable, frame | drawable.uniforms | {"keep": keep}, blended, outlines)
        GL.glDepthMask(True)
        GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._large.id)
        GL.glBindFramebuffer(GL.GL_DRAW_FRAMEBUFFER, self._small.id)
        small = self._small.size
        # OpenGL's first row is the lowest, a picture's the highest. Depth is not turned here, because nearest texels would be others then.
        GL.glBlitFramebuffer(0, 0, size, size, 0, small, small, 0, GL.GL_COLOR_BUFFER_BIT, GL.GL_LINEAR)
        if self.spec.depth:
            GL.glBlitFramebuffer(0, 0, size, size, 0, 0, small, small, GL.GL_DEPTH_BUFFER_BIT, GL.GL_NEAREST)
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._small.id)

    def _draw_one(self, drawable: Drawable, uniforms: dict[str, Any], blended: bool, outlines: bool) -> None:
        (GL.glEnable if blended else GL.glDisable)(GL.GL_BLEND)
        GL.glDepthMask(not blended)
        program = self._program(drawable.traits)
        GL.glUseProgram(program.id)
        for name, place in program.places.items():
            if program.values.get(name) is not uniforms[name]:
                _set_uniform(place, uniforms[name])
                program.values[name] = uniforms[name]
        if drawable.image is not None:
            GL.glBindTexture(GL.GL_TEXTURE_2D, drawable.image)
        GL.glBindVertexArray(drawable.array)
        if drawable.mode == GL.GL_POINTS:
            GL.glDrawArrays(GL.GL_POINTS, 0, drawable.count)
        else:
            one_sided = 0 if outlines else drawable.one_sided
            if drawable.count > one_sided:
                GL.glDrawElements(GL.GL_TRIANGLES, drawable.count - one_sided, GL.GL_UNSIGNED_INT, None)
            if one_sided:
                GL.glEnable(GL.GL_CULL_FACE)  # culls what is clockwise
                start = ctypes.c_void_p((drawable.count - one_sided) * 4)
                GL.glDrawElements(GL.GL_TRIANGLES, one_sided, GL.GL_UNSIGNED_INT, start)
                GL.glDisable(GL.GL_CULL_FACE)
        GL.glBindVertexArray(0)

    def _program(self, traits: frozenset[str]) -> "Program":
        """Return a variant of the shader. It is compiled at the first call."""
        if traits not in self._programs:
            stages = []
            for name, kind in (("shape.vert", GL.GL_VERTEX_SHADER), ("shape.frag", GL.GL_FRAGMENT_SHADER)):
                version, _, rest = (Path(__file__).parent / "shaders" / name).read_text().partition("\n")
                source = "\n".join([version, *(f"#define {trait}" for trait in sorted(traits)), rest])
                stages.append(shaders.compileShader(source, kind))
            program = shaders.compileProgram(*stages, validate=False)
            names = [GL.glGetActiveUniform(program, i)[0].decode() for i in range(GL.glGetProgramiv(program, GL.GL_ACTIVE_UNIFORMS))]
            places = {name: GL.glGetUniformLocation(program, name) for name in names if name != "image"}
            self._programs[traits] = Program(program, places, {})
        return self._programs[traits]

    def _colors(self) -> np.ndarray:
        """Read the colours of the small framebuffer, with the top row first. [H, W, 4] uint8"""
        size = self._small.size
        return np.frombuffer(GL.glReadPixels(0, 0, size, size, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE), np.uint8).reshape(size, size, 4)

    def _depth(self, near: float, far: float) -> np.ndarray:
        """Read the distance along the optical axis `[H, W]`, 0 where nothing is."""
        size = self._small.size
        read = np.frombuffer(GL.glReadPixels(0, 0, size, size, GL.GL_DEPTH_COMPONENT, GL.GL_FLOAT), np.float32)
        stored = read.reshape(size, size)[::-1].astype(np.float64)
        depth = near * far / (far - stored * (far - near))
        return np.where(stored == 1, 0, depth)


def _opaque(picture: np.ndarray) -> np.ndarray:
    """Leave out alpha: `[H, W, 4]` -> `[H, W, 3]`. Pillow is five times as fast as numpy at rows of three."""
    return np.asarray(Image.fromarray(picture, "RGBA").convert("RGB"))


def _faint(picture: np.ndarray, background: tuple[int, int, int]) -> bool:
    """Whether hardly any pixel of `[H, W, 4]` uint8 differs from the background. It computes in bytes, because every picture is tested."""
    rows = picture.reshape(len(picture), -1)  # [H, 4 W], because numpy is slow at rows of four
    alpha = np.array([0, 0, 0, 255], np.uint8).view(np.uint32)
    least = np.count_nonzero(rows.view(np.uint32) & alpha) / 50
    # Nearly always every eighth row tells already.
    return bool(_apart(rows[::8], background) < least and _apart(rows, background) < least)


def _apart(rows: np.ndarray, background: tuple[int, int, int]) -> int:
    """Number of pixels of rows of a picture `[n, 4 W]` uint8 that differ from the background."""
    behind = np.tile(np.array([*background, 0], np.uint8), rows.shape[1] // 4)
    far = np.maximum(rows, behind) - np.minimum(rows, behind) >= CONTRAST
    return int(np.count_nonzero(far.view(np.uint32) & np.array([1, 1, 1, 0], np.uint8).view(np.uint32)))


# ------------------------------------------------------------------------------------------------- the graphics side


class Program(NamedTuple):
    """A variant of the shader."""

    id: int
    places: dict[str, int]
    """Locations of its uniforms, by name."""
    values: dict[str, Any]
    """The values that its uniforms have, by name."""


class Framebuffer(NamedTuple):
    id: int
    size: int
    buffers: list[int]


@functools.cache
def _context() -> Any:
    """Make the only OpenGL context of the process. EGL fails after many contexts, so it is kept."""
    try:
        return pyrender.OffscreenRenderer(16, 16)
    except Exception as error:  # EGL's bindings raise anything, bare assertions too
        raise UserError(
            f"no OpenGL context through {os.environ['PYOPENGL_PLATFORM']} ({type(error).__name__}: {error}); "
            "Debian: apt-get install libegl1 libgl1-mesa-dri"
        ) from error


def _framebuffer(size: int) -> Framebuffer:
    handle = GL.glGenFramebuffers(1)
    buffers = list(GL.glGenRenderbuffers(2))
    GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, handle)
    kinds = ((GL.GL_RGBA8, GL.GL_COLOR_ATTACHMENT0), (GL.GL_DEPTH_COMPONENT24, GL.GL_DEPTH_ATTACHMENT))
    for buffer, (storage, attachment) in zip(buffers, kinds, strict=True):
        GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, buffer)
        GL.glRenderbufferStorage(GL.GL_RENDERBUFFER, storage, size, size)
        GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, attachment, GL.GL_RENDERBUFFER, buffer)
    if GL.glCheckFramebufferStatus(GL.GL_FRAMEBUFFER) != GL.GL_FRAMEBUFFER_COMPLETE:
        raise UserError(f"this OpenGL cannot draw {size} x {size} pixels: lower views.size")
    return Framebuffer(handle, size, buffers)


def _set_uniform(place: int, value: Any) -> None:
    match np.shape(value):
        case (4, 4):
            GL.glUniformMatrix4fv(place, 1, True, np.ascontiguousarray(value, np.float32))
        case (4,):
            GL.glUniform4f(place, *map(float, value))
        case (3,):
            GL.glUniform3f(place, *map(float, value))
        case (2,):
            GL.glUniform2f(place, *map(float, value))
        case _:
            GL.glUniform1f(place, float(value))


def _arrays(*columns: np.ndarray | None) -> tuple[int, list[int]]:
    """Make a vertex array of position, normal, texture coordinates and colour. None means a constant: (0, 0, 0, 1), or white for colour."""
    array = GL.glGenVertexArrays(1)
    GL.glBindVertexArray(array)
    GL.glVertexAttrib4f(3, 1, 1, 1, 1)
    buffers = []
    for place, data in enumerate(columns):
        if data is not None:
            data = np.ascontiguousarray(data)
            buffers.append(_buffer(GL.GL_ARRAY_BUFFER, data))
            kind = GL.GL_UNSIGNED_BYTE if data.dtype == np.uint8 else GL.GL_FLOAT
            GL.glVertexAttribPointer(place, data.shape[1], kind, kind == GL.GL_UNSIGNED_BYTE, 0, None)
            GL.glEnableVertexAttribArray(place)
    return array, buffers


def _buffer(target: int, data: np.ndarray) -> int:
    buffer: int = GL.glGenBuffers(1)
    GL.glBindBuffer(target, buffer)
    GL.glBufferData(target, data.nbytes, data, GL.GL_STATIC_DRAW)
    return buffer


def _image(pixels: np.ndarray, premultiplied: bool, clamped: bool) -> int:
    """Make a texture `[H, W, 4]` with mipmaps. Its first row is the top of the picture, at v = 0 of the shader.

    The texture repeats unless `clamped`. With `premultiplied`, colours are stored times alpha, and the shader divides by alpha. Then each
    texel counts by its alpha in every mean of texels, also in mipmaps, and the colour of transparent texels is never seen.
    """
    if premultiplied:
        pixels = pixels.copy()
        pixels[..., :3] = np.rint(pixels[..., :3] * (pixels[..., 3:] / np.float32(255)))
    image: int = GL.glGenTextures(1)
    GL.glBindTexture(GL.GL_TEXTURE_2D, image)
    GL.glTexImage2D(
        GL.GL_TEXTURE_2D, 0, GL.GL_RGBA8, pixels.shape[1], pixels.shape[0], 0, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, np.ascontiguousarray(pixels)
    )
    GL.glGenerateMipmap(GL.GL_TEXTURE_2D)
    GL.glTexParameteri(GL.GL_TEXTURE_2D, GL.GL_TEXTURE_MIN_FILTER, GL.GL_LINEAR_MIPMAP_NEAREST)
    for direction in (GL.GL_TEXTURE_WRAP_S, GL.GL_TEXTURE_WRAP_T):
        GL.glTexParameteri(GL.GL_TEXTURE_2D, direction, GL.GL_CLAMP_TO_EDGE if clamped else GL.GL_REPEAT)
    return image


def _upload(part: Part, images: dict[tuple[int, bool, bool], int]) -> Drawable:
    """Upload a part. `images` holds the uploaded textures by (id of their pixels, whether premultiplied, whether clamped)."""
    rows, faces, normals = None, part.faces, part.normals
    if normals is None and len(faces) <= SMOOTH_FACES:
        rows, faces, normals = smooth(part.vertices, part.faces, shared=part.uv is None and part.colors is None)
    vertices, uv, colors = (a if a is None or rows is None else a[rows] for a in (part.vertices, part.uv, part.colors))
    array, buffers = _arrays(vertices, normals, uv, colors)
    one_sided = 0
    if part.side is not None:
        order = np.argsort(part.side != BOTH, kind="stable")
        faces, one_sided = faces[order], 3 * int(np.count_nonzero(part.side != BOTH))
    buffers.append(_buffer(GL.GL_ELEMENT_ARRAY_BUFFER, np.ascontiguousarray(faces, np.uint32)))
    GL.glBindVertexArray(0)
    passes = _passes(part)
    image, cut = None, False
    if part.texture is not None and part.textured:
        cut = passes != OPAQUE and int(part.texture[..., 3].min()) < 255
        look = (id(part.texture), cut, part.clamped)
        if look not in images:
            images[look] = _image(part.texture, cut, part.clamped)
        image = images[look]
    traits = {"SMOOTH": normals is not None, "TEXTURE": image is not None, "ALPHA": passes != OPAQUE, "PREMULTIPLIED": cut}
    traits["EMISSIVE"] = any(part.emissive)
    gloss = 0.35 * (1 - part.roughness) ** 2
    traits["SHINY"] = gloss > 0 or part.metallic > 0
    return Drawable(
        mode=GL.GL_TRIANGLES,
        count=faces.size,
        one_sided=one_sided,
        array=array,
        buffers=buffers,
        image=image,
        traits=frozenset(name for name, on in traits.items() if on),
        uniforms={"base": part.base_color, "emissive": part.emissive, "metallic": part.metallic, "gloss": gloss},
        passes=passes,
    )


OPAQUE: Final = [((0.0, 2.0), False)]
"""Passes of an opaque part: everything is drawn once."""


def _passes(part: Part) -> list[tuple[tuple[float, float], bool]]:
    """Return how often a part is drawn, and which range of alpha each time.

    Exporters often mark parts for blending that are opaque, or transparent only in small spots. So everything nearly opaque is drawn as
    opaque and hides what is behind it. Only the rest is blended.
    """
    if part.alpha_mode == "MASK":
        return [((part.threshold, 2.0), False)]
    if part.alpha_mode == "OPAQUE":
        return OPAQUE
    return OPAQUE if part.alphas[0] >= 0.95 else [((0.95, 2.0), False), ((FAINT, 0.95), True)]


@contextlib.contextmanager
def _uploaded(shape: "Splats | Sequence[Part]") -> Iterator[list[Drawable]]:
    """Upload a shape, and delete its buffers and textures at the end."""
    drawables: list[Drawable] = []
    images: dict[tuple[int, bool, bool], int] = {}
    try:
        if isinstance(shape, Splats):
            drawables.append(_upload_splats(shape))
        else:
            drawables.extend(_upload(part, images) for part in shape)
        yield drawables
    finally:
        for drawable in drawables:
            GL.glDeleteVertexArrays(1, [drawable.array])
            GL.glDeleteBuffers(len(drawable.buffers), drawable.buffers)
        if images:
            GL.glDeleteTextures(list(images.values()))


def _upload_splats(splats: "Splats") -> Drawable:
    array, buffers = _arrays(splats.vertices, splats.normals, np.column_stack([splats.radius, splats.radius]), splats.colors)
    GL.glBindVertexArray(0)
    base = (1.0, 1.0, 1.0, 1.0) if splats.colors is not None else (GREY, GREY, GREY, 1.0)
    return Drawable(
        mode=GL.GL_POINTS,
        count=len(splats.vertices),
        one_sided=0,
        array=array,
        buffers=buffers,
        image=None,
        traits=frozenset({"SPLAT"}),
        uniforms={"base": base, "emissive": (0, 0, 0), "metallic": 0, "gloss": 0},
        passes=OPAQUE,
    )


# --------------------------------------------------------------------------------------------------- shape for shading


class Splats(NamedTuple):
    vertices: np.ndarray
    """[n, 3] float32."""
    normals: np.ndarray
    """[n, 3] float32, estimated from neighbouring points."""
    radius: np.ndarray
    """[n] float32."""
    colors: np.ndarray | None
    """[n, 4] uint8."""


def _splats(cloud: Cloud) -> Splats:
    """Turn a cloud into round patches that just overlap. Each is oriented by its neighbours."""
    from scipy.spatial import cKDTree

    points, colors = cloud.points, cloud.colors
    if len(points) > SPLATS:
        chosen = np.random.default_rng(0).permutation(len(points))[:SPLATS]
        points, colors = points[chosen], None if colors is None else colors[chosen]
    neighbours = min(13, len(points))
    distance, index = cKDTree(points).query(points, k=neighbours)  # the first is the point itself
    around = points[index] - points[index].mean(axis=1, keepdims=True)  # [n, k, 3]
    _, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around).astype(np.float64))  # smallest first
    extent = float(np.linalg.norm(points.max(axis=0) - points.min(axis=0))) / 2
    near = distance[:, min(5, neighbours - 1)]
    radius = np.clip(0.7 * near, np.clip(0.5 * np.median(near), 0.005 * extent, 0.05 * extent), 0.05 * extent)
    rgba = None if colors is None else np.column_stack([colors, np.full(len(colors), 255, np.uint8)])
    return Splats(points, axes[:, :, 0].astype(np.float32), radius.astype(np.float32), rgba)
