"""USD (`.usd .usda .usdc .usdz`) by Pixar's library, which is optional: `pip install 'mmpd[usd]'`.

Read are meshes with holes, copies by reference or instance, preview materials (`UsdPreviewSurface`) with their pictures, and display
colours, at the earliest time, without what is invisible or a guide. Other surfaces (spheres, patches, point instancers) are
refused by name, as are layers that are missing.

Letters: V vertices, P polygons, C corners of all polygons together, F triangles.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.geometry import GREY, REACH, TRIANGLES, Geometry, Mesh, Part, compact, copied, display, grouped
from pipeline.polygons import triangulated
from pipeline.reading import File, Missing


def read(file: File) -> Geometry:
    """The surface of a stage.

    Raises:
        UserError: the library is not installed, the file is no USD or damaged, names layers that are missing, or has no surface.
    """
    from pxr import Usd, UsdGeom

    stage = _opened(file.path)
    errors = stage.GetCompositionErrors()
    if errors:
        raise UserError(f"a layer that the file names is missing or damaged ({str(errors[0]).splitlines()[0]})")
    places, parts, pictures, total, said = UsdGeom.XformCache(Usd.TimeCode.EarliestTime()), [], _Pictures(file), 0, False
    for prim in stage.Traverse(Usd.TraverseInstanceProxies()):
        if not prim.IsA(UsdGeom.Boundable) or prim.IsA(UsdGeom.Points) or prim.GetTypeName() == "SkelRoot":
            if prim.IsA(UsdGeom.Points):
                file.warn("points are left out")
            continue
        image = UsdGeom.Imageable(prim)
        if image.ComputeVisibility() == UsdGeom.Tokens.invisible or image.ComputePurpose() in ("guide", "proxy"):
            file.warn("what is invisible, a guide or a proxy is left out")
        elif prim.IsA(UsdGeom.Curves):
            file.warn("curves are left out")
        elif prim.IsA(UsdGeom.Mesh):
            if prim.GetRelationship("skel:skeleton").GetTargets() or prim.HasAPI("SkelBindingAPI"):
                file.warn("a skin is left in its bind pose")
            matrix = np.array(places.GetLocalToWorldTransform(prim)).T  # the library's vectors are rows
            for part, colored in _parts(prim, file, pictures):
                total += len(part.faces)
                if total > TRIANGLES:
                    raise UserError(f"the scene expands to more than {TRIANGLES:,} triangles")
                said |= colored
                parts.append(copied(part, matrix[None]))
        elif prim.IsA(UsdGeom.Gprim) or prim.IsA(UsdGeom.PointInstancer):
            raise UserError(f"{prim.GetPath()} is a {prim.GetTypeName()}, which cannot be read: save it as meshes")
    if not parts:
        raise UserError("the file holds no triangles")
    return Mesh(parts=tuple(grouped(parts)), colored=said, warnings=tuple(file.warnings))


def up(path: Path) -> Literal["y", "z"]:
    """The axis that points up in a stage; where it cannot be opened, y: reading it will say why."""
    try:
        from pxr import UsdGeom

        return "z" if UsdGeom.GetStageUpAxis(_opened(path)) == "Z" else "y"
    except (UserError, ImportError):
        return "y"


def _opened(path: Path) -> Any:
    try:
        from pxr import Tf, Usd
    except ImportError as error:
        raise UserError("USD files need a library that is not installed: pip install 'mmpd[usd]'") from error
    try:
        return Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise UserError(f"cannot be read as USD, damaged or cut short? ({str(error).strip().rsplit(' : ', 1)[-1]})") from error


def _parts(prim: Any, file: File, pictures: "_Pictures") -> list[tuple[Part, bool]]:
    """A mesh in its own axes, one part for each material, and whether anything says its colour."""
    from pxr import Usd, UsdGeom, UsdShade

    mesh, now = UsdGeom.Mesh(prim), Usd.TimeCode.EarliestTime()
    vertices = np.array(mesh.GetPointsAttr().Get(now) or [], np.float64).reshape(-1, 3)
    counts = np.array(mesh.GetFaceVertexCountsAttr().Get(now) or [], np.int64)
    corners = np.array(mesh.GetFaceVertexIndicesAttr().Get(now) or [], np.int64)
    if (counts < 0).any() or counts.sum() != len(corners):
        raise UserError(f"{prim.GetPath()} is damaged: polygons of {counts.sum():,} corners, {len(corners):,} are there")
    if len(corners) and not (0 <= corners.min() and corners.max() < len(vertices)):
        raise UserError(f"{prim.GetPath()} names vertex {corners.max()} of {len(vertices)} (index out of range)")
    holes = np.zeros(len(counts), bool)
    holes[[i for i in mesh.GetHoleIndicesAttr().Get(now) or [] if 0 <= i < len(counts)]] = True
    triangles, polygon = triangulated(vertices, counts, corners)  # [F, 3] positions in corners, [F]
    flat = triangles.reshape(-1)

    def values(name: str) -> np.ndarray | None:
        """A primitive variable at each corner of each triangle, `[3 F, k]`."""
        variable = UsdGeom.PrimvarsAPI(prim).FindPrimvarWithInheritance(name)
        held = variable.ComputeFlattened(now) if variable and variable.HasValue() else None
        if held is None or not len(held):
            return None
        table = np.array(held, np.float64).reshape(len(held), -1)
        rows = {"constant": flat * 0, "uniform": np.repeat(polygon, 3), "faceVarying": flat}.get(variable.GetInterpolation(), corners[flat])
        if len(rows) and rows.max() >= len(table):
            file.warn(f"a variable {name!r} is too short and left out")
            return None
        return table[rows]

    whole = Part(vertices=vertices[corners[flat]], faces=np.arange(len(flat)).reshape(-1, 3))
    api = UsdShade.MaterialBindingAPI(prim)
    material = np.zeros(len(counts), np.int64)  # which of `found` each polygon has, [P]
    found = [api.ComputeBoundMaterial()[0]]
    for subset in api.GetMaterialBindSubsets():
        which = np.array(subset.GetIndicesAttr().Get() or [], np.int64)
        material[which[(which >= 0) & (which < len(counts))]] = len(found)
        found.append(UsdShade.MaterialBindingAPI(subset.GetPrim()).ComputeBoundMaterial()[0])
    done = []
    for index, one in enumerate(found):
        rows = (material[polygon] == index) & ~holes[polygon]
        if rows.any():
            look, said, uv_name, turn = pictures.look(one) if one else ({}, False, "", np.eye(3))
            wide = np.repeat(rows, 3)
            if look.get("texture") is not None:
                uv = values(uv_name)
                if uv is not None and uv.shape[1] >= 2:
                    moved = uv[wide, :2] @ turn[:2, :2].T + turn[:2, 2]
                    look["uv"] = np.where(np.abs(moved) < REACH, moved, 0)
                else:
                    file.warn(f"a picture is left out: there are no coordinates {uv_name!r}")
                    look, said = {}, False
            if not said and (shown := values("displayColor")) is not None and shown.shape[1] >= 3:
                cover = values("displayOpacity")
                alpha = np.ones((wide.sum(), 1)) if cover is None else cover[wide, :1]
                color = np.hstack([display(np.clip(np.nan_to_num(shown[wide, :3]), 0, 1)), np.clip(np.nan_to_num(alpha), 0, 1)])
                look = {"colors": np.rint(color * 255).astype(np.uint8), "alpha_mode": "BLEND" if alpha.min() < 1 else "OPAQUE"}
                said = True
            grey = {} if said else {"base_color": (GREY, GREY, GREY, 1.0)}
            chosen = dataclasses.replace(whole, vertices=whole.vertices[wide], faces=np.arange(wide.sum()).reshape(-1, 3))
            done.append((compact(dataclasses.replace(chosen, **(look | grey))), said))
    return done


class _Pictures:
    """Materials of a stage, each read once."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.done: dict[str, tuple[dict[str, Any], bool, str, np.ndarray]] = {}
        self.pixels: dict[str, np.ndarray | None] = {}

    def look(self, material: Any) -> tuple[dict[str, Any], bool, str, np.ndarray]:
        """Fields of a `Part`, whether they say a colour, the name of the coordinates that a picture uses, and how
        these are moved `[3, 3]`."""
        key = str(material.GetPath())
        if key not in self.done:
            self.done[key] = self._look(material)
        look, said, name, turn = self.done[key]
        return dict(look), said, name, turn

    def _look(self, material: Any) -> tuple[dict[str, Any], bool, str, np.ndarray]:
        shader = material.ComputeSurfaceSource("")[0]
        if not shader or shader.GetIdAttr().Get() != "UsdPreviewSurface":
            self.file.warn(f"material {material.GetPrim().GetName()!r} is left out: it has no UsdPreviewSurface")
            return {}, False, "", np.eye(3)
        texture, name, turn = self.picture(shader, "diffuseColor")
        lost = texture is None and bool(name)
        color = np.clip(_value(shader, "diffuseColor", (0.18, 0.18, 0.18)), 0, 1)
        alpha, cut = float(np.clip(_value(shader, "opacity", 1.0), 0, 1)), float(_value(shader, "opacityThreshold", 0.0))
        mask, *_ = self.picture(shader, "opacity")
        base = (1.0, 1.0, 1.0) if texture is not None else (GREY,) * 3 if lost else tuple(display(color).tolist())
        mode = ("MASK" if cut > 0 else "BLEND") if alpha < 1 or (mask is not None and texture is not None) else "OPAQUE"
        if mask is not None and mask is not texture:
            self.file.warn("opacity of a picture of its own is left out")
        look = {
            "texture": texture,
            "base_color": (*base, alpha),
            "alpha_mode": mode,
            "alpha_cutoff": cut if cut > 0 else 0.5,
            "metallic": float(np.clip(_value(shader, "metallic", 0.0), 0, 1)),
            "roughness": float(np.clip(_value(shader, "roughness", 0.5), 0, 1)),
            "emissive": tuple(display(np.clip(_value(shader, "emissiveColor", (0, 0, 0)), 0, 1)).tolist()),
        }
        return look, not lost, name, turn

    def picture(self, shader: Any, name: str) -> tuple[np.ndarray | None, str, np.ndarray]:
        """What a picture gives an input: its pixels, the name of its coordinates and how they are moved; nothing where no picture is
        connected."""
        entry = shader.GetInput(name)
        source = entry.GetConnectedSource() if entry else None
        if not source or source[0].GetPrim().GetTypeName() != "Shader":
            return None, "", np.eye(3)
        from pxr import UsdShade

        texture = UsdShade.Shader(source[0].GetPrim())
        held = texture.GetInput("file").Get() if texture.GetInput("file") else None
        if held is None or not held.path:
            self.file.warn(f"what is connected to {name} is left out: it names no picture")
            return None, "", np.eye(3)
        coordinates, turn = "st", np.eye(3)
        if texture.GetInput("st") and (reader := texture.GetInput("st").GetConnectedSource()):
            node = UsdShade.Shader(reader[0].GetPrim())
            if node.GetIdAttr().Get() == "UsdTransform2d":
                angle = np.radians(float(_value(node, "rotation", 0.0)))
                turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
                turn[:2, :2] *= _value(node, "scale", (1.0, 1.0))
                turn[:2, 2] = _value(node, "translation", (0.0, 0.0))
                inner = node.GetInput("in").GetConnectedSource() if node.GetInput("in") else None
                node = UsdShade.Shader(inner[0].GetPrim()) if inner else node
            coordinates = str((node.GetInput("varname").Get() if node.GetInput("varname") else None) or "st")
        return self.decoded(held), coordinates, turn

    def decoded(self, asset: Any) -> np.ndarray | None:
        """The pixels of an asset, inside a package or beside; None where it is missing and that is allowed."""
        from pxr import Ar

        if asset.path not in self.pixels:
            opened = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath)) if asset.resolvedPath else None
            if opened:
                self.pixels[asset.path] = textures.decode(bytes(opened.GetBuffer()), asset.path)
            elif self.file.suffix == ".usdz":
                self.file.lacks(Missing(f"file {asset.path!r}, named in {self.file.path.name}, is missing in it"))
                self.pixels[asset.path] = None
            else:
                self.pixels[asset.path] = self.file.texture(asset.path)
        return self.pixels[asset.path]


def _value(shader: Any, name: str, default: Any) -> np.ndarray:
    """The number or numbers of an input that nothing is connected to."""
    entry = shader.GetInput(name)
    attribute = entry.GetValueProducingAttributes() if entry else None
    held = attribute[0].Get() if attribute else None
    value = default if held is None or isinstance(held, str) else held
    return np.nan_to_num(np.array(value, np.float64))
