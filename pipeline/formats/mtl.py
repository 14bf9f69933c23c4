"""Materials of OBJ: reads `.mtl` files and says how a surface looks.

The statements about the colour of a surface are read: `Kd`, `map_Kd`, `d`, `Tr`, `map_d`, `Ke`, `map_Ke`, and `Ka` and `map_Ka` where
no other statement gives a colour. `Ns`, `Pr` and `Pm` give roughness and metalness. Statements that depend on the lights of a scene
(`Ks`, `Ni`, `Tf`, `illum`, bump, specular and reflection maps) are not read, because the pictures have lights of their own.

Source of the format: http://paulbourke.net/dataformats/mtl/. `Pr` and `Pm`: http://exocortex.com/blog/extending_wavefront_mtl_to_support_pbr.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.formats.lines import Lines
from pipeline.reading import File

NUMBERS: Final = {"-s": 3, "-o": 3, "-t": 3, "-mm": 2, "-bm": 1, "-boost": 1, "-texres": 1}
"""Options of a map that take numbers, and how many they take at most."""

WORDS: Final = ("-clamp", "-blendu", "-blendv", "-cc", "-imfchan", "-type", "-colorspace")
"""Options of a map that take one word."""


Color = tuple[float, float, float]
"""Red, green and blue, 0..1."""

BLACK: Final[Color] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Map:
    """A picture that a material names, with the options for its place and its values."""

    name: str
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False
    levels: tuple[float, float] = (0.0, 1.0)
    """Base and gain of the option `-mm`: each value of the picture is multiplied by the gain, then the base is added."""
    channel: str = ""


@dataclass
class Material:
    """What a `.mtl` file says about one material."""

    name: str
    file: Path
    """The `.mtl` file that defines it. Names of pictures are relative to its folder."""
    colors: dict[str, Color] = field(default_factory=dict)
    """By statement (`kd`, `ka`, `ke`): the colour."""
    numbers: dict[str, float] = field(default_factory=dict)
    """By statement (`d`, `tr`, `ns`, `pr`, `pm`): the number."""
    maps: dict[str, Map] = field(default_factory=dict)
    """By statement (`map_kd`, `map_ka`, `map_ke`, `map_d`): the picture."""
    notes: list[str] = field(default_factory=list)
    """Warnings for shapes that use the material, about statements that are left out."""


@dataclass(frozen=True)
class Look:
    """How a surface with one material is drawn."""

    base: tuple[float, float, float] | None = None
    """Plain colour, sRGB. None where the material has none."""
    beside: tuple[float, float, float] | None = None
    """Plain colour of faces that have no UV coordinates for the texture."""
    texture: NDArray[Any] | None = None
    """[H, W, 4] uint8."""
    pictured: bool = False
    """Whether the texture gives the colour, so that plain and vertex colours are left out. If not, it only gives the alpha."""
    gone: bool = False
    """Whether the picture that gives the colour is missing."""
    place: Map | None = None
    """The map whose options place the texture on the surface."""
    alpha: float = 1.0
    """Opacity of the whole material, 0..1."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of a `geometry.Part`."""


def parse(name: str, file: File) -> dict[str, Material]:
    """The materials of a `.mtl` file that a shape names, by name. If two have the same name, the first counts.

    Raises:
        UserError: the file is missing or cannot be opened.
    """
    path = file.find(name)
    data = file.beside(name)
    materials: dict[str, Material] = {}
    material: Material | None = None
    lines = Lines(data)
    for line in np.flatnonzero(lines.said()).tolist():
        words = lines.text(line).split(maxsplit=1)
        key, rest = words[0].lower() if words else "", words[1] if len(words) == 2 else ""
        if key == "newmtl":
            material = Material(rest, path)
            if materials.setdefault(rest, material) is not material:
                materials[rest].notes.append(f"{name} has two materials {rest!r}; the first is used")
        elif material is not None and rest:
            _take(material, key, rest)
    return materials


def _take(material: Material, key: str, rest: str) -> None:
    """Stores what one statement says about a material.

    Args:
        key: the keyword, in small letters.
        rest: what follows it.
    """
    if key in ("kd", "ka", "ke"):
        _take_color(material, key, rest)
    elif key in ("d", "tr", "ns", "pr", "pm"):
        _take_number(material, key, rest)
    elif key in ("map_kd", "map_ka", "map_ke", "map_d"):
        picture = _map(rest, material)
        if picture is not None:
            material.maps[key] = picture
    elif key == "decal":
        material.notes.append(f"'decal' of material {material.name!r}, a picture over its colour, is left out")
    elif key in ("map_tr", "map_opacity"):
        material.notes.append(f"'{key}' of material {material.name!r} is not part of MTL; it is left out")


def _take_color(material: Material, key: str, rest: str) -> None:
    color = _color(rest)
    written = f"colour '{key.capitalize()} {rest}' of material {material.name!r}"
    if color is None:
        material.notes.append(f"{written} is not red, green, blue; it is left out")
        return
    if min(color) < 0 or (max(color) > 1 and key != "ke"):
        material.notes.append(f"{written} is not within 0..1; it is cut off there")
    red, green, blue = (min(max(c, 0.0), 1.0) for c in color)
    material.colors[key] = (red, green, blue)


def _take_number(material: Material, key: str, rest: str) -> None:
    words = rest.split()
    halo = words[0].lower() == "-halo"
    if halo:
        material.notes.append(f"'d -halo' of material {material.name!r} is drawn without its halo")
    values = _floats(words[halo:][:1])
    if values and np.isfinite(values[0]):
        material.numbers[key] = values[0]
    else:
        material.notes.append(f"'{key} {rest}' of material {material.name!r} is no number; it is left out")


def _color(rest: str) -> tuple[float, float, float] | None:
    """Red, green and blue. One number stands for all three, as the format says. None where the text is a spectrum or has no numbers."""
    values = _floats(re.split(r"\s#", rest)[0].split())
    if not values or len(values) not in (1, 3, 4) or not np.isfinite(values).all():
        return None
    return (values[0], values[0], values[0]) if len(values) == 1 else (values[0], values[1], values[2])


def _floats(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _map(rest: str, material: Material) -> Map | None:
    """A map's options and name. The name is the rest of the line, blanks included."""
    said: dict[str, list[str]] = {}
    while match := re.match(r"(-[a-zA-Z]+)\s+", rest):
        option = match[1].lower()
        if option in NUMBERS:
            rest = rest[match.end() :]
            said[option] = []
            while len(said[option]) < NUMBERS[option] and (
                number := re.match(r"([-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s+", rest, re.IGNORECASE)
            ):
                said[option].append(number[1])
                rest = rest[number.end() :]
        elif option in WORDS:
            word, _, rest = rest[match.end() :].partition(" ")
            said[option] = [word.lower()]
        else:
            break  # a file name may begin with a hyphen
        rest = rest.strip()
    if not rest:
        material.notes.append(f"a map of material {material.name!r} names no file; it is left out")
        return None
    if any(float(x) for x in said.get("-t", ())):
        material.notes.append(f"turbulence (-t) of map {rest!r} is left out")
    return Map(
        name=rest,
        scale=_two(said.get("-s", []), (1.0, 1.0)),
        offset=_two(said.get("-o", []), (0.0, 0.0)),
        clamp=said.get("-clamp") == ["on"],
        levels=_two(said.get("-mm", []), (0.0, 1.0)),
        channel="".join(said.get("-imfchan", ())),
    )


def _two(words: list[str], default: tuple[float, float]) -> tuple[float, float]:
    """The first two numbers of an option. Numbers that are left out are taken from `default`."""
    first, second = [float(word) for word in words[:2]] + list(default)[len(words[:2]) :]
    return first, second


class Looks:
    """Makes a `Look` for each material. Each combination of pictures is made once, so that materials share textures."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._made: dict[Any, NDArray[Any]] = {}

    def look(self, material: Material) -> Look:
        """How a material is drawn.

        Raises:
            UserError: a texture is missing and required, damaged, or used in a way that cannot be drawn.
        """
        for note in material.notes:
            self.file.warn(note)
        kd, picture, emissive = self._colored(material)
        texture = None if picture is None else self._picture(material, picture)
        alpha, pictured = self._alpha(material), texture is not None
        texture, place, mode = self._transparent(material, picture, texture, alpha)
        return Look(
            base=kd if picture is None else None,
            beside=kd if any(kd or ()) else None,
            texture=texture,
            pictured=pictured,
            gone=picture is not None and not pictured,
            place=place,
            alpha=alpha,
            fields={"emissive": emissive, "alpha_mode": mode, **_shine(material)},
        )

    def _colored(self, material: Material) -> tuple[Color | None, Map | None, Color]:
        """The plain colour of a material, the picture that says its colour, and its emission."""
        name, colors, maps = material.name, material.colors, dict(material.maps)
        kd, picture = colors.get("kd"), maps.get("map_kd")
        if kd is None and picture is None and ("ka" in colors or "map_ka" in maps):
            picture = maps.pop("map_ka", None)
            kd = colors["ka"] if any(colors.get("ka", ())) else None
            if picture or kd:
                self.file.warn(f"material {name!r} has an ambient colour (Ka) alone; it is drawn in that")
        elif "map_ka" in maps and maps["map_ka"].name != (picture and picture.name):
            self.file.warn(f"map_Ka of material {name!r} is left out")
        if "map_ke" not in maps:
            return kd, picture, colors.get("ke", BLACK)
        if picture is None and not any(kd or ()):
            picture = maps["map_ke"]  # hand-painted models keep all their colour here
        elif maps["map_ke"].name != (picture and picture.name):
            self.file.warn(f"map_Ke of material {name!r} is left out beside its colour")
        return kd, picture, BLACK

    def _picture(self, material: Material, picture: Map) -> NDArray[Any] | None:
        """The pixels of a picture `[H, W, 4]` after its option `-mm`; None where it is missing and that is allowed."""
        texture = self.file.texture(picture.name, material.file)
        if texture is None or picture.levels == (0.0, 1.0):
            return texture
        pure, levels = texture, picture.levels
        return self._once(_key(material, picture), lambda: _levelled(pure, levels))

    def _transparent(
        self, material: Material, picture: Map | None, texture: NDArray[Any] | None, alpha: float
    ) -> tuple[NDArray[Any] | None, Map | None, str]:
        """The texture of a material with the alpha that it is drawn with, the options that say where it lies, and the alpha mode.

        Args:
            picture: the picture that says the colour, if any.
            texture: its pixels `[H, W, 4]`; None where it is missing.
            alpha: how opaque the whole material is.
        """
        mask, mode = material.maps.get("map_d"), "OPAQUE"
        pixels = None if mask is None else self.file.texture(mask.name, material.file)
        if mask is not None and picture is not None and pixels is not None and mask.name == picture.name and pixels[..., 3].min() == 255:
            self.file.warn(f"map_d of material {material.name!r} is its map_Kd, which has no alpha; it is drawn opaque")
            mask = None
        place, key = picture, _key(material, picture)
        if mask is not None and pixels is not None:
            place = _same_place(material, picture, mask) if texture is not None and picture is not None else mask
            transparency = _mask(pixels, mask)
            binary = bool(np.isin(transparency, (0, 255)).all())
            if transparency.min() < 255:
                mode = "MASK" if binary else "BLEND"
                below = np.full((1, 1, 4), 255, np.uint8) if texture is None else texture
                texture = self._once((*key, mask), lambda: textures.with_alpha(below, transparency, smooth=not binary))
        if alpha < 1:
            mode = "BLEND"
            if mask is None and texture is not None and texture[..., 3].min() < 255:
                # Only map_d makes a picture transparent; without it viewers ignore the alpha that a map_Kd may have.
                clear, solid = texture, np.full(texture.shape[:2], 255, np.uint8)
                texture = self._once((*key, None), lambda: textures.with_alpha(clear, solid))
        return texture, place, mode

    def _alpha(self, material: Material) -> float:
        """Opacity of a material, 0..1. `d` counts more than `Tr`, whose meaning differs between exporters, unless `d` would hide the
        surface."""
        d, tr = material.numbers.get("d"), material.numbers.get("tr")
        alpha = 1.0 if d is None and tr is None else d if d is not None else 1 - (tr or 0.0)
        if d is not None and tr is not None and abs(d - (1 - tr)) > 1e-3:
            if d <= 0:
                alpha = 1 - tr
            self.file.warn(f"'d' and 'Tr' of material {material.name!r} contradict each other; it is drawn {alpha:.2g} opaque")
        elif d is None and alpha <= 0:
            self.file.warn(f"'Tr 1' of material {material.name!r} is taken for opaque, as MeshLab and others mean it")
            alpha = 1.0
        assert alpha is not None
        return min(max(alpha, 0.0), 1.0)

    def _once(self, key: tuple[Any, ...], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _key(material: Material, picture: Map | None) -> tuple[Any, ...]:
    """What the pixels of a picture depend on."""
    if picture is None or picture.levels == (0.0, 1.0):
        return (material.file.parent, picture)
    return (material.file.parent, picture.name, picture.levels)


def _same_place(material: Material, picture: Map, mask: Map) -> Map:
    """The options of a picture, if its mask lies where it lies.

    Raises:
        UserError: the mask lies elsewhere.
    """
    if (mask.scale, mask.offset, mask.clamp) != (picture.scale, picture.offset, picture.clamp):
        raise UserError(f"map_d of material {material.name!r} lies elsewhere (-s, -o, -clamp) than its map_Kd; this cannot be drawn")
    return picture


def _shine(material: Material) -> dict[str, float]:
    """The fields `roughness` and `metallic` of a part: from `Pr` and `Pm` where a file has them, else from the exponent `Ns`."""
    numbers = material.numbers
    shine = {"roughness": float((2 / (max(numbers.get("ns", 1.0), 0) + 2)) ** 0.25)}
    for key, name in (("pr", "roughness"), ("pm", "metallic")):
        if key in numbers:
            shine[name] = min(max(numbers[key], 0.0), 1.0)
    return shine


def _levelled(pixels: NDArray[Any], levels: tuple[float, float]) -> NDArray[Any]:
    """Pixels `[H, W, 4]` after the option `-mm base gain`: each colour value times gain, plus base."""
    rgb = np.rint(np.clip(levels[0] * 255 + levels[1] * pixels[..., :3].astype(np.float64), 0, 255)).astype(np.uint8)
    return np.concatenate([rgb, pixels[..., 3:]], axis=2)


def _mask(pixels: NDArray[Any], mask: Map) -> NDArray[Any]:
    """Opacity `[H, W]` uint8 of each pixel of a `map_d`: the alpha of the picture where it has one, else its brightness."""
    channels = {"r": 0, "g": 1, "b": 2, "m": 3}
    if mask.channel in channels:
        values = pixels[..., channels[mask.channel]]
    elif mask.channel != "l" and pixels[..., 3].min() < 255:
        values = pixels[..., 3]
    else:
        values = np.rint(pixels[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    base, gain = mask.levels
    return np.rint(np.clip(base * 255 + gain * values.astype(np.float64), 0, 255)).astype(np.uint8)


def materials(file: File, names: list[str], used: list[str]) -> Iterator[tuple[str, Material | None]]:
    """Finds the materials that faces use. Yields each name with its material, or with None where there is none.

    The exact name comes first, then a name that differs in case or blanks. An `.mtl` file with the name of the shape is read last, as
    Blender does: shapes that were copied and renamed still name the old file.

    Args:
        names: the `.mtl` files that the shape names.
        used: the materials that its faces use.

    Raises:
        UserError: textures are required, a file is missing, and the other files lack a material.
    """
    known: dict[str, Material] = {}
    missing: list[Exception] = []
    for name in dict.fromkeys(names):
        try:
            found = parse(name, file)
        except UserError as error:
            missing.append(error)
        else:
            known = found | known
    lacking = [name for name in used if _named(name, known) is None]
    own = file.path.with_suffix(".mtl")
    if lacking and own.is_file() and own.name not in names:
        extra = parse(own.name, file)
        if any(_named(name, extra) for name in lacking):
            file.warn(f"materials are from {own.name}, which is beside the file and not named in it")
            known = extra | known
            lacking = [name for name in used if _named(name, known) is None]
    for absent in missing:
        if lacking:
            file.lacks(absent)
        else:
            file.warn(f"{absent}; no face needs it")
    for name in used:
        material = _named(name, known)
        if material is None and not missing:
            file.warn(f"material {name!r} is in {'none of the files of materials' if names else 'no file'}; its faces have no colour of it")
        yield name, material


def _named(name: str, known: dict[str, Material]) -> Material | None:
    """The material with this name, else one whose name differs in case or blanks."""

    def alike(text: str) -> str:
        return " ".join(re.split(r"\s#", text)[0].split()).casefold()

    if name in known:
        return known[name]
    return next((material for key, material in known.items() if alike(key) == alike(name)), None)
