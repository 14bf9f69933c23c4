"""Materials and textures of glTF 2.0: gives each `Part` its colours. `gltf.py` reads the scene.

    looks = Looks(document)
    part, said = looks.dressed(part, primitive, given, rows)

In glTF, colour factors and vertex colours are linear light, and textures are sRGB. In a `Part`, everything is sRGB. In glTF, UV (0, 0) is
the upper left corner of a texture; in a `Part`, the lower left. Only `_textured` and the functions it calls deal with both.

Letters: V vertices, H x W pixels.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.formats.gltf_data import (
    APPLIED,
    DRACO,
    PICTURES,
    SEEN_THROUGH,
    SPECULAR_GLOSSINESS,
    UNSEEN,
    Document,
    Record,
    Values,
    extension,
    number,
    record,
    records,
    shown,
    text,
    vector,
    whole,
)
from pipeline.geometry import GREY, Part, display
from pipeline.reading import Missing

REPEAT, CLAMP, MIRROR = 10497, 33071, 33648
NEAREST: Final = 9728

FLOATS: Final = (5126, 5130)
"""The types of accessors of floats."""

BRIGHT: Final = 16
"""What the largest number of colours of vertices is at least, if they are 0 to 255 and not 0 to 1 with some light above."""

WIDEST: Final = 4096
"""Largest side, in pixels, of a texture that is widened because it does not repeat."""


class Slot(NamedTuple):
    """A texture of a material, and how it lies on a part."""

    texture: int
    coordinates: int
    """Number of the TEXCOORD attribute."""
    transform: tuple[float, ...] | None
    """The matrix `[2, 3]` that transforms UV coordinates, row by row; None for none."""


class Picture(NamedTuple):
    """A decoded texture with its wrap modes."""

    pixels: NDArray[Any]
    """[H, W, 4] uint8."""
    wrap: tuple[int, int]
    """Wrap mode in u and v: `REPEAT`, `CLAMP` or `MIRROR`."""
    image: int
    """Index of the image in the file."""


@dataclass(frozen=True)
class Look:
    """A material, in linear light."""

    base: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    said: bool = False
    """Whether the file gives `base`. If not, viewers use white; here the part is grey unless a texture or vertex colours give a colour."""
    base_slot: Slot | None = None
    metal_slot: Slot | None = None
    """Texture of specular colours of a specular-glossiness material. They are the colours of its metals."""
    metal: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """A colour that multiplies the texture of specular colours."""
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emission_slot: Slot | None = None
    metallic: float = 0.0
    roughness: float = 1.0
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5


@dataclass(frozen=True)
class Coat:
    """The colour of a part in linear light: base times vertex colours times picture."""

    base: NDArray[Any]
    """[4]"""
    said: bool
    """Whether the file gives any of the three."""
    tint: NDArray[Any] | None
    """[V, 4] vertex colours."""
    slot: Slot | None
    picture: Picture | None


class Scale(NamedTuple):
    """What colours of vertices that are floats are divided by."""

    color: float = 1.0
    """Divisor of red, green and blue."""
    alpha: float = 1.0
    """Divisor of the opacity."""


class Looks:
    """Materials and textures, each read once."""

    def __init__(self, document: Document) -> None:
        self.document, self.file = document, document.file
        self._looks: dict[int | None, Look] = {None: Look()}
        self._images: dict[int, NDArray[Any]] = {}
        self._pictures: dict[int, Picture | None] = {}
        self._made: dict[Any, Any] = {}

    def unknown(self, owner: Record, kind: str) -> None:
        """Warns of extensions of an object that may be visible and are not applied."""
        for name in record(owner, "extensions"):
            if name in SEEN_THROUGH:
                self.file.warn(f"{name}: drawn as opaque")
            elif name not in APPLIED | UNSEEN:
                self.file.warn(f"glTF extension {name} of {kind} is not known and left out")

    @functools.cached_property
    def _scale(self) -> Scale:
        """The scale of all colours of vertices that are floats. Some programs write 0 to 255 where the format has 0 to 1.

        Light may be above 1 in single vertices. So the scale is 0 to 255 only if some number is far above 1, and most are above 1 or all
        are whole.
        """
        arrays = [values.raw for values in self._float_colors() if values.raw.dtype.kind == "f"]
        finite = [array[:, :3][np.isfinite(array[:, :3])] for array in arrays]
        top, count = max((float(part.max(initial=0)) for part in finite), default=0.0), sum(map(len, finite))
        if not BRIGHT <= top <= 255:
            return Scale()
        above = sum(int(np.count_nonzero(part > 1)) for part in finite)
        if 2 * above <= count and not all((part == np.rint(part)).all() for part in finite):
            return Scale()
        alphas = [array[:, 3:][np.isfinite(array[:, 3:])] for array in arrays]
        return Scale(255.0, 255.0 if max(float(part.max(initial=0)) for part in alphas) > 2 else 1.0)

    def _float_colors(self) -> Iterator[Values]:
        """The colours of vertices of every mesh of the document that are stored as floats. Damaged ones are left out: they are refused
        where they are drawn."""
        for mesh in self.document.table("meshes"):
            for primitive in records(mesh, "primitives"):
                with contextlib.suppress(UserError):
                    attributes = record(primitive, "attributes")
                    if "COLOR_0" not in attributes:
                        continue
                    index, packed = whole(attributes, "COLOR_0"), extension(primitive, DRACO)
                    if self.document.item("accessors", index).get("componentType") not in FLOATS:
                        continue
                    if packed is not None and "COLOR_0" in record(packed, "attributes"):
                        yield self.document.draco(packed, {"COLOR_0": index})[1]["COLOR_0"]
                    else:
                        yield self.document.accessor(index, "COLOR_0")

    def _shades(self, colors: Values, rows: NDArray[Any] | None) -> NDArray[Any]:
        """Colours of vertices `[V, 3 or 4]` from 0 to 1. `rows` are the elements that are vertices of the part; None for all."""
        shades = colors.floats(rows, always_normalized=True)
        if colors.raw.dtype.kind == "f" and self._scale.color != 1:
            self.file.warn("colours of vertices go beyond 1: taken as 0 to 255")
            shades = shades / np.array([self._scale.color] * 3 + [self._scale.alpha])[: shades.shape[1]]
        clipped: NDArray[Any] = np.clip(np.nan_to_num(shades), 0, 1)
        return clipped

    def dressed(self, part: Part, primitive: Record, given: dict[str, Values], rows: NDArray[Any] | None) -> tuple[Part, bool]:
        """A part with its material.

        Args:
            part: positions, faces and normals.
            primitive: the JSON object of the part.
            given: its attributes.
            rows: the elements of the attributes that are vertices of the part; None for all.

        Returns:
            The part, and whether the file gives its colour. If not, the part is grey.
        """
        look = self._look(whole(primitive, "material") if "material" in primitive else None)
        picture = self._laid(look.base_slot, given)
        base, said = np.array(look.base), look.said
        if picture is None and look.base_slot is not None and min(base[:3]) == 1:
            said = False  # white is only the factor of a texture, and that is missing
        tint = None
        if "COLOR_0" in given:
            tint = self._shades(given["COLOR_0"], rows)
            tint = np.column_stack([tint, np.ones(len(tint), tint.dtype)]) if tint.shape[1] == 3 else tint
        if look.metal_slot is not None and (picture is not None or look.base_slot is None):
            picture, base = self._plated(look, picture, base, given)
        coat = Coat(base, said or picture is not None or tint is not None, tint, look.base_slot or look.metal_slot, picture)
        if max(look.emission) > 0:
            coat = self._lit(coat, look, given)
        colors, alpha = None, 1.0 if look.alpha_mode == "OPAQUE" else float(coat.base[3])
        red, green, blue = map(float, display(coat.base[:3])) if coat.said else (GREY, GREY, GREY)
        if coat.tint is not None:
            # glTF multiplies colours as linear light. The product is then converted to sRGB.
            opacity = np.ones(len(coat.tint)) if look.alpha_mode == "OPAQUE" else coat.tint[:, 3]
            colors = np.rint(np.column_stack([display(coat.tint[:, :3] * coat.base[:3]), opacity]).clip(0, 1) * 255).astype(np.uint8)
            red = green = blue = 1.0
        part = replace(
            part,
            colors=colors,
            base_color=(red, green, blue, alpha),
            metallic=look.metallic,
            roughness=look.roughness,
            alpha_mode=look.alpha_mode,
            alpha_cutoff=look.alpha_cutoff,
        )
        if coat.picture is not None and coat.slot is not None:
            part = self._textured(part, coat.picture, given[f"TEXCOORD_{coat.slot.coordinates}"].floats(rows), coat.slot)
        return part, coat.said

    def _textured(self, part: Part, picture: Picture, coordinates: NDArray[Any], slot: Slot) -> Part:
        """The part with a texture that may be repeated, and with UV coordinates made from those of glTF `[V, 2]`."""
        uv = coordinates.astype(np.float64)
        if slot.transform is not None:
            matrix = np.array(slot.transform).reshape(2, 3)
            uv = uv @ matrix[:, :2].T + matrix[:, 2]
        uv = np.clip(np.nan_to_num(uv, posinf=0, neginf=0), -1e9, 1e9)
        pixels = picture.pixels
        for axis, how in enumerate(picture.wrap):
            pixels, uv = self._wrapped(pixels, uv, axis, how)
        if np.abs(uv).max() > 100:
            # For large coordinates float32 has no digits left within the texture. All repetitions are equal, so the coordinates are moved
            # near 0.
            uv = np.clip(uv - np.floor(uv.min(axis=0)), 0, 1e6)
        return replace(part, texture=pixels, uv=np.column_stack([uv[:, 0], 1 - uv[:, 1]]))

    def _wrapped(self, pixels: NDArray[Any], uv: NDArray[Any], axis: int, how: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Replaces a texture that is clamped or mirrored along an axis (0: u, 1: v) by one that may repeat, and its UV coordinates `[V,
        2]`.

        The texture is widened only as far as the coordinates reach, and not at all if they stay inside.
        """
        size = pixels.shape[1 - axis]
        low, high = float(uv[:, axis].min()) * size, float(uv[:, axis].max()) * size
        if how == REPEAT or (low >= 0.5 and high <= size - 0.5):
            return pixels, uv
        uv = uv.copy()
        if how == MIRROR and (low < -0.5 or high > size + 0.5):
            uv[:, axis] /= 2
            mirror = (id(pixels), axis, "mirror")
            if mirror not in self._made:
                self._made[mirror] = (pixels, np.concatenate([pixels, np.flip(pixels, 1 - axis)], axis=1 - axis))
            return self._made[mirror][1], uv
        # Clamped: the border is extended as far as the coordinates reach, by powers of two, so that parts share a few pictures. A
        # coordinate within half a texel of the border already mixes with the texel beyond.
        before, after = (1 << max(math.ceil(reach) - 1, 0).bit_length() if reach > 0 else 0 for reach in (0.5 - low, high - size + 0.5))
        shrink = 1
        while (size + before + after) / shrink > WIDEST and shrink < size:
            shrink *= 2
        if (size + before + after) / shrink > WIDEST:
            # The coordinates reach so far that the picture would be too large. Everything there is border, so the coordinates are limited.
            self.file.warn("texture coordinates lie thousands of textures outside a clamped texture: cut off")
            before, after = (min(reach, WIDEST // 2 * shrink) for reach in (before, after))
            uv[:, axis] = np.clip(uv[:, axis], -before / size, 1 + after / size)
        key = (id(pixels), axis, before, after)
        if key not in self._made:
            self._made[key] = (pixels, _padded(pixels, 1 - axis, before, after, shrink))
        uv[:, axis] = (uv[:, axis] * size + before) / (size + before + after)
        return self._made[key][1], uv

    def _plated(
        self, look: Look, picture: Picture | None, base: NDArray[Any], given: dict[str, Values]
    ) -> tuple[Picture | None, NDArray[Any]]:
        """Picture and base colour `[4]` of a specular-glossiness material, whose metals get their specular colour instead of black."""
        shine = self._laid(look.metal_slot, given)
        if shine is None or look.metal_slot is None:
            return picture, base
        if picture is not None and look.base_slot is not None:
            if look.metal_slot[1:] != look.base_slot[1:] or shine.wrap != picture.wrap:
                self.file.warn("a texture of specular colours is left out that lies on a part otherwise than its diffuse texture")
                return picture, base
        pixels = None if picture is None else picture.pixels
        key = ("metal", id(pixels), id(shine.pixels), *base[:3], *look.metal)
        if key not in self._made:
            self._made[key] = (pixels, shine, _plated(pixels, base[:3], shine.pixels, np.array(look.metal)))
        done = self._made[key][2]
        if done is None:
            return picture, base
        return (picture or shine)._replace(pixels=done), np.append(np.ones(3), base[3])

    # --------------------------------------------------------------------------------------------------------- emission

    def _lit(self, coat: Coat, look: Look, given: dict[str, Values]) -> Coat:
        """Adds the emission of a material to its colour, so that renderings shade it and point colours include it.

        A viewer adds emission after shading. A strong emission then is white without form, on a white background. Here colour and emission
        are summed as linear light. If the brightest channel is above 1, all channels are divided by it, so that the hue is kept.
        """
        emission, base, tint, picture = np.array(look.emission), coat.base, coat.tint, coat.picture
        bare = np.append(np.ones(3), base[3])  # the base colour once its value is in the vertex colours or the picture
        if look.emission_slot is None and picture is None:
            mixed = base[None, :3] * (1 if tint is None else tint[:, :3]) + emission
            mixed = mixed / np.maximum(mixed.max(axis=1, keepdims=True), 1)
            if tint is None:
                return replace(coat, said=True, base=np.append(mixed[0], base[3]))
            return replace(coat, base=bare, tint=np.column_stack([mixed, tint[:, 3]]))

        glow = self._laid(look.emission_slot, given)
        if look.emission_slot is not None and glow is None:
            return coat  # the texture is missing; a warning has been given
        if glow is not None and picture is not None and glow.image == picture.image:
            return coat  # one picture with painted light is both base and emission: it is the colour
        if glow is not None and (_LIGHT[glow.pixels[..., :3].max(axis=(0, 1))] * emission).max() < 1 / 512:
            return coat  # black, as most emissive textures are
        if picture is None and not look.said:
            base = np.append(np.zeros(3), base[3])  # nobody chose the default white beside a painted emission
        if tint is not None and not (tint[:, :3] == 1).all():
            if picture is not None or base[:3].any():
                self.file.warn("emission is left out of a part that has vertex colours and a texture")
                return coat
            tint = np.column_stack([np.ones((len(tint), 3)), tint[:, 3]])
        if glow is not None and picture is not None and coat.slot is not None and look.emission_slot is not None:
            if look.emission_slot[1:] != coat.slot[1:] or glow.wrap != picture.wrap:
                self.file.warn("an emissive texture is left out that lies on a part otherwise than its base texture")
                return coat
        pixels, light = None if picture is None else picture.pixels, None if glow is None else glow.pixels
        key = ("emission", id(pixels), id(light), *base[:3], *emission)
        if key not in self._made:
            self._made[key] = (pixels, light, _emitting(pixels, base[:3], light, emission))
        below = picture or glow
        assert below is not None
        slot = look.emission_slot if picture is None else coat.slot
        return Coat(bare, True, tint, slot, below._replace(pixels=self._made[key][2]))

    # --------------------------------------------------------------------------------------------------------- textures

    def _laid(self, slot: Slot | None, given: dict[str, Values]) -> Picture | None:
        """The picture of a slot; None where it is missing or the part has no UV coordinates for it."""
        if slot is None:
            return None
        if f"TEXCOORD_{slot.coordinates}" not in given:
            self.file.warn(f"a part has a texture and no TEXCOORD_{slot.coordinates} to lay it on: drawn without")
            return None
        if slot.texture not in self._pictures:
            self._pictures[slot.texture] = self._picture(slot.texture)
        return self._pictures[slot.texture]

    def _picture(self, index: int) -> Picture | None:
        """A texture with its wrap modes; None where its file is missing and textures are not required."""
        texture = self.document.item("textures", index)
        sampler = self.document.item("samplers", whole(texture, "sampler")) if "sampler" in texture else {}
        wrap = (whole(sampler, "wrapS", REPEAT), whole(sampler, "wrapT", REPEAT))
        if not set(wrap) <= {REPEAT, CLAMP, MIRROR}:
            raise UserError(f"textures[{index}] wraps by {wrap}, which glTF does not know")
        # The plain source comes first: it is the same picture as PNG or JPEG, for programs that cannot read the other formats.
        sources = [
            owner for owner in (texture, *(extension(texture, name) for name in PICTURES)) if owner is not None and "source" in owner
        ]
        self.unknown(texture, "textures")
        if not sources:
            names = ", ".join(record(texture, "extensions"))
            if names:
                raise UserError(f"textures[{index}] is in the glTF extension {names}, which is not read: export it without")
            self.file.warn("a texture that names no picture is left out")
            return None
        missing: Missing | None = None
        for source in sources:
            image = whole(source, "source")
            try:
                pixels = self._image(image)
            except Missing as error:
                missing = error
                continue
            if whole(sampler, "magFilter", 0) == NEAREST and max(pixels.shape[:2]) <= 256:
                pixels = self._sharp(pixels)
            return Picture(pixels, wrap, image)
        if missing is not None:
            self.file.lacks(missing)
        return None

    def _sharp(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """A small picture, enlarged without smoothing. Our renderer smooths between pixels; a sampler with NEAREST wants to show them."""
        key = (id(pixels), "sharp")
        if key not in self._made:
            times = min(16, 1024 // max(pixels.shape[:2]))
            self._made[key] = (pixels, pixels.repeat(times, axis=0).repeat(times, axis=1))
        sharp: NDArray[Any] = self._made[key][1]
        return sharp

    def _image(self, index: int) -> NDArray[Any]:
        """The pixels of an image `[H, W, 4]` uint8.

        Raises:
            Missing: its file is missing.
        """
        if index not in self._images:
            image = self.document.item("images", index)
            name = text(image, "name", "") or f"images[{index}]"
            if "bufferView" in image:
                data = self.document.view(whole(image, "bufferView")).tobytes()
            elif "uri" in image:
                uri = text(image, "uri", "")
                name = "in a data: address" if uri[:5].lower() == "data:" else uri
                data = self.document.uri(uri)
            else:
                raise UserError(f"images[{index}] has neither a file nor bytes")
            self._images[index] = textures.decode(data, name)
        return self._images[index]

    # -------------------------------------------------------------------------------------------------------- materials

    def _look(self, index: int | None) -> Look:
        """The material with an index, read once; the default material for None."""
        if index not in self._looks:
            assert index is not None
            self._looks[index] = self._material(self.document.item("materials", index))
        return self._looks[index]

    def _material(self, material: Record) -> Look:
        """Reads a material."""
        self.unknown(material, "materials")
        metal = record(material, "pbrMetallicRoughness")
        specular = extension(material, SPECULAR_GLOSSINESS)
        unlit = extension(material, "KHR_materials_unlit") is not None
        # Where a material has both, the extension's text and most viewers that know it (Blender, Babylon, Filament) use
        # specular-glossiness; metallic-roughness is the fallback. The two are never mixed.
        look = self._metallic(metal) if specular is None else self._specular(specular)
        mode = material.get("alphaMode", "OPAQUE")
        if mode not in ("OPAQUE", "MASK", "BLEND"):
            raise UserError(f"a material has alphaMode {shown(mode)}, which glTF does not know")
        look = replace(look, alpha_mode=mode, alpha_cutoff=number(material, "alphaCutoff", 0.5))
        if unlit:
            # Viewers show it without shading. Here it is lit like everything else, because light shows form; it has no highlights and no
            # emission.
            return replace(look, metallic=0.0, roughness=1.0)
        strength = number(extension(material, "KHR_materials_emissive_strength") or {}, "emissiveStrength", 1.0)
        light = np.clip(np.nan_to_num(vector(material, "emissiveFactor", (0.0, 0.0, 0.0)) * strength), 0, None)
        red, green, blue = map(float, light / max(float(light.max()), 1))  # keeps the hue of an emission that is brighter than white
        return replace(look, emission=(red, green, blue), emission_slot=self._slot(material, "emissiveTexture"))

    def _metallic(self, metal: Record) -> Look:
        """Reads a metallic-roughness material."""
        mapped = "metallicRoughnessTexture" in metal  # then the factors alone tell little; most such textures are of dielectrics
        return Look(
            base=_factor(metal, "baseColorFactor"),
            said="baseColorFactor" in metal,
            base_slot=self._slot(metal, "baseColorTexture"),
            metallic=0.0 if mapped else float(np.clip(number(metal, "metallicFactor", 1.0), 0, 1)),
            roughness=0.6 if mapped else float(np.clip(number(metal, "roughnessFactor", 1.0), 0, 1)),
        )

    def _specular(self, specular: Record) -> Look:
        """Reads the colour of a specular-glossiness material, which is its diffuse colour.

        By the specification the specular colour darkens the diffuse one. It is white by default, which would make everything black, and no
        viewer does that. Only a material with nearly no diffuse colour and a strong specular colour is a metal, with the specular colour.
        """
        base, slot = _factor(specular, "diffuseFactor"), self._slot(specular, "diffuseTexture")
        red, green, blue = map(float, np.clip(np.nan_to_num(vector(specular, "specularFactor", (1.0, 1.0, 1.0))), 0, 1))
        shine = self._slot(specular, "specularGlossinessTexture")
        metal = slot is None and shine is None and "specularFactor" in specular and _metal(np.array(base[:3]), np.array([red, green, blue]))
        gloss = float(np.clip(number(specular, "glossinessFactor", 1.0), 0, 1))
        return Look(
            base=(red, green, blue, base[3]) if metal else base,
            said="diffuseFactor" in specular,
            base_slot=slot,
            metal_slot=shine,
            metal=(red, green, blue),
            metallic=1.0 if metal else 0.0,
            roughness=0.6 if shine is not None or "glossinessFactor" not in specular else 1 - gloss,
        )

    def _slot(self, owner: Record, key: str) -> Slot | None:
        """A texture of a material; None where it has none."""
        if owner.get(key) is None:
            return None
        info = record(owner, key)
        self.unknown(info, "textures")
        transform = extension(info, "KHR_texture_transform")
        coordinates = whole(info, "texCoord", 0)
        if transform is None:
            return Slot(whole(info, "index"), coordinates, None)
        (x, y), (width, height) = vector(transform, "offset", (0.0, 0.0)), vector(transform, "scale", (1.0, 1.0))
        angle = number(transform, "rotation", 0.0)
        if not math.isfinite(angle):
            raise UserError("a texture's rotation is not finite")
        # The rotation is counter-clockwise with v pointing down, as in three.js, Babylon and Blender. The GLSL in the text of the extension
        # rotates the other way (https://github.com/KhronosGroup/glTF/issues/1563).
        c, s = math.cos(angle), math.sin(angle)
        matrix = tuple(map(float, (c * width, s * height, x, -s * width, c * height, y)))
        return Slot(whole(info, "index"), whole(transform, "texCoord", coordinates), matrix)


def _factor(owner: Record, key: str) -> tuple[float, float, float, float]:
    """A colour factor (red, green, blue, alpha), within 0..1; white where there is none."""
    red, green, blue, alpha = map(float, np.clip(np.nan_to_num(vector(owner, key, (1.0, 1.0, 1.0, 1.0))), 0, 1))
    return red, green, blue, alpha


def _padded(pixels: NDArray[Any], axis: int, before: int, after: int, shrink: int) -> NDArray[Any]:
    """A picture `[H, W, 4]` whose border is extended along an axis by `before` and `after` texels, then made `shrink` times smaller."""
    size = pixels.shape[axis]
    if shrink == 1:
        pads = [(0, 0)] * 3
        pads[axis] = (before, after)
        return np.pad(pixels, pads, mode="edge")
    count = max(round((size + before + after) / shrink), 1)
    places = np.clip((np.arange(count) + 0.5) * ((size + before + after) / count) - before, 0, size - 1).astype(np.int64)
    return np.ascontiguousarray(np.take(pixels, places, axis=axis))


_LIGHT: Final = np.where(
    np.arange(256) / 255 <= 0.04045, np.arange(256) / 255 / 12.92, ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4
).astype(np.float32)
"""By sRGB value (0..255): linear light. The reverse of `geometry.display`."""


def _metal(diffuse: NDArray[Any], specular: NDArray[Any]) -> NDArray[Any]:
    """Metalness 0..1 `[..]` by diffuse and specular colours in linear light `[.., 3]`."""
    metal: NDArray[Any] = np.clip(specular.max(axis=-1) / 0.2 - 0.5, 0, 1) * np.clip(1.5 - diffuse.max(axis=-1) / 0.04, 0, 1)
    return metal


def _sized(picture: NDArray[Any] | None, size: tuple[int, int]) -> NDArray[Any]:
    """A picture `[h, w, 4]` in another size, `[H, W, 4]` uint8; one white pixel where there is none."""
    return np.full((1, 1, 4), 255, np.uint8) if picture is None else textures.resized(picture, size)


def _shown(light: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Linear light `[H, W, 3]` in 0..1 and an alpha `[H or 1, W or 1]` as a picture `[H, W, 4]` uint8."""
    shades = np.rint(display(np.arange(65536) / 65535) * 255).astype(np.uint8)
    done = np.empty((*light.shape[:2], 4), np.uint8)
    done[..., :3], done[..., 3] = shades[np.rint(light * 65535).astype(np.uint16)], alpha
    return done


def _larger(*pictures: NDArray[Any] | None) -> tuple[int, int]:
    """Height and width of the largest picture `[H, W, 4]`."""
    height, width = max((p.shape[:2] for p in pictures if p is not None), key=math.prod)
    return height, width


def _plated(pixels: NDArray[Any] | None, base: NDArray[Any], shine: NDArray[Any], metal: NDArray[Any]) -> NDArray[Any] | None:
    """The diffuse texture times base colour; where that is black and the specular colour is not, the specular colour. None where no pixel
    is a metal."""
    size = _larger(pixels, shine)
    below, specular = _sized(pixels, size), _LIGHT[_sized(shine, size)[..., :3]] * metal.astype(np.float32)
    diffuse = _LIGHT[below[..., :3]] * base.astype(np.float32)
    weight = _metal(diffuse, specular)[..., None]
    if not weight.any():
        return None
    return _shown(diffuse + weight * (specular - diffuse), below[..., 3])


def _emitting(pixels: NDArray[Any] | None, base: NDArray[Any], glow: NDArray[Any] | None, emission: NDArray[Any]) -> NDArray[Any]:
    """Base texture times base colour plus emissive texture times emission, `[H, W, 4]` uint8, as large as the larger of the two."""
    size = _larger(pixels, glow)
    below, above = _sized(pixels, size), _sized(glow, size)
    mixed = _LIGHT[below[..., :3]] * base.astype(np.float32) + _LIGHT[above[..., :3]] * emission.astype(np.float32)
    return _shown(mixed / np.maximum(mixed.max(axis=2, keepdims=True), 1), below[..., 3])
