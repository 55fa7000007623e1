"""The pocket world: clay creatures whose every surface point is known.

A creature is twenty-one ellipsoids, placed by a handful of pose and look parameters and ray-cast with plain NumPy
(a ray meets an ellipsoid in closed form), so pictures, landmarks and true edits need neither a GPU nor a 3-D library.
Nothing here knows about diffusion; `tasks.py` turns pairs of scenes into drag tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Species:
    """What all creatures of one kind share: colours of fur, and of belly and inner ears; sizes in head radii."""

    fur: tuple[float, float, float]
    belly: tuple[float, float, float]
    muzzle: float  # 1 is the mean of all species, here and below
    eye: float
    head_width: float
    head_height: float
    ear_width: float  # in head radii


SPECIES = {
    "fox": Species((0.86, 0.44, 0.18), (0.97, 0.86, 0.72), 1.06, 0.95, 1.00, 0.96, 0.23),
    "mouse": Species((0.56, 0.58, 0.62), (0.86, 0.80, 0.80), 0.95, 1.00, 0.97, 1.00, 0.27),
    "bear": Species((0.48, 0.31, 0.20), (0.80, 0.64, 0.48), 1.08, 0.94, 1.07, 0.97, 0.26),
    "bunny": Species((0.90, 0.86, 0.80), (0.96, 0.76, 0.76), 0.97, 1.04, 0.96, 1.04, 0.21),
    "moss": Species((0.42, 0.58, 0.36), (0.80, 0.86, 0.62), 1.00, 1.09, 1.06, 1.00, 0.24),
    "plum": Species((0.52, 0.40, 0.66), (0.84, 0.74, 0.88), 0.96, 1.06, 1.00, 1.05, 0.22),
}
BACKGROUNDS = {  # top of the sky, horizon, floor
    "sky": ((0.45, 0.66, 0.86), (0.84, 0.91, 0.95), (0.66, 0.74, 0.62)),
    "sand": ((0.93, 0.80, 0.62), (0.97, 0.92, 0.82), (0.80, 0.68, 0.52)),
    "mint": ((0.55, 0.78, 0.72), (0.86, 0.94, 0.90), (0.58, 0.68, 0.66)),
    "dusk": ((0.40, 0.40, 0.60), (0.86, 0.74, 0.76), (0.52, 0.46, 0.54)),
}

CAMERA = np.array([0.0, 0.35, 9.0], np.float32)
LOOK_AT = np.array([0.0, -0.08, 0.0], np.float32)
HALF_VIEW = 0.24  # tangent of half the field of view
FLOOR_Y = -2.07


@dataclass(frozen=True)
class Scene:
    """Everything that decides one picture. Angles are in degrees, lengths in head radii."""

    yaw: float = 0.0  # the head turns to the picture's right
    pitch: float = 0.0  # the head looks down
    roll: float = 0.0  # the head tilts clockwise in the picture
    x: float = 0.0  # the creature moves right
    y: float = 0.0  # the creature hops up
    scale: float = 1.0
    ear_length: float = 0.6
    ear_angle: float = 25.0
    mouth: float = 0.0  # 0 closed … 1 wide open
    species: str = "fox"
    background: str = "sky"
    light: float = -35.0  # where the key light stands: negative is left

    def changed(self, **changes: float | str) -> Scene:
        """The same scene with some parameters changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


RANGES = {  # what the training world draws from, evenly; all else stays as `Scene` has it
    "yaw": (-35.0, 35.0),
    "roll": (-18.0, 18.0),
    "x": (-0.6, 0.6),
    "y": (0.0, 0.5),
    "scale": (0.8, 1.08),
    "ear_length": (0.35, 0.7),
    "ear_angle": (8.0, 50.0),
    "mouth": (0.0, 1.0),
}
MOUTH_SHUT = 0.35  # the share of scenes with a closed mouth


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw one scene of the training world."""
    shape = {name: float(rng.uniform(low, high)) for name, (low, high) in RANGES.items()}
    if rng.random() < MOUTH_SHUT:
        shape["mouth"] = 0.0
    return Scene(**shape, species=str(rng.choice(list(SPECIES))), background=str(rng.choice(list(BACKGROUNDS))))


def in_world(scene: Scene) -> bool:
    """Could the training world have drawn this scene?"""
    return all(low <= getattr(scene, name) <= high for name, (low, high) in RANGES.items())


@dataclass(frozen=True)
class Part:
    """One ellipsoid: the unit sphere carried by `matrix` (3, 3) and moved to `centre` (3,)."""

    name: str
    matrix: Array
    centre: Array
    colour: tuple[float, float, float]
    gloss: float = 0.12

    @property
    def inverse(self) -> Array:
        return np.linalg.inv(self.matrix)


def creature_parts(scene: Scene) -> list[Part]:
    """Place the ellipsoids of a scene's creature in world coordinates (x right, y up, z towards the camera)."""
    species = SPECIES[scene.species]
    fur, belly = species.fur, species.belly
    dark, white, red = (0.07, 0.06, 0.07), (0.97, 0.97, 0.95), (0.55, 0.12, 0.14)
    head_turn = _rotation(scene.yaw, scene.pitch, scene.roll)
    neck = np.array([0.0, -0.7, 0.0])
    root = np.array([scene.x, scene.y, 0.0])
    lift = (FLOOR_Y - neck[1]) * (1 - scene.scale)  # growing keeps the feet on the floor
    parts: list[Part] = []

    def place(name, centre, radii, colour, gloss=0.12, turn=None, spin=None):
        frame = np.eye(3) if turn is None else turn
        axes = frame @ (np.eye(3) if spin is None else spin) @ np.diag(radii)
        at = neck + scene.scale * (frame @ (np.asarray(centre, float) - neck)) + root + [0.0, lift, 0.0]
        parts.append(Part(name, (scene.scale * axes).astype(np.float32), at.astype(np.float32), colour, gloss))

    def on_head(name, centre, radii, colour, gloss=0.12, spin=None):
        place(name, centre, radii, colour, gloss, head_turn, spin)

    w, h, m, o = species.head_width, species.head_height, species.muzzle, scene.mouth
    on_head("head", (0, 0, 0), (w, 0.92 * h, 0.9), fur)
    on_head("muzzle", (0, -0.26, 0.72), (0.45 * m, 0.32 * m, 0.42 * m), belly)
    on_head("jaw", (0, -0.50 - 0.26 * o, 0.62), (0.33 * m, 0.16 * m, 0.36 * m), belly)
    on_head("mouth", (0, -0.46 - 0.12 * o, 0.66), (0.29 * m, 0.06 + 0.20 * o, 0.36 * m), red)
    on_head("nose", (0, -0.10, 0.72 + 0.40 * m), (0.19, 0.145, 0.12), dark, 0.9)
    for side, s in (("left", -1.0), ("right", 1.0)):
        r = species.eye
        on_head(f"{side} eye", (s * 0.42 * w, 0.26, 0.68), (0.27 * r, 0.29 * r, 0.19), white, 0.5)
        on_head(f"{side} pupil", (s * 0.41 * w, 0.26, 0.68 + 0.10), (0.17 * r, 0.19 * r, 0.12), dark, 0.9)
        glint = s * 0.41 * w + 0.05 * np.sign(scene.light)
        on_head(f"{side} glint", (glint, 0.34, 0.68 + 0.195), (0.05, 0.055, 0.035), white)
        lean = _rotation(0, 0, s * scene.ear_angle)
        base = np.array([s * 0.42 * w, 0.62 * h, -0.05])
        length, width = scene.ear_length, species.ear_width
        middle = base + lean @ np.array([0, 0.75 * length, 0])
        on_head(f"{side} ear", middle, (width, length, 0.13), fur, spin=lean)
        inner = middle + np.array([0, 0, 0.07])
        on_head(f"{side} inner ear", inner, (0.6 * width, 0.8 * length, 0.09), belly, spin=lean)
        place(f"{side} paw", (s * 0.54, -1.16, 0.54), (0.17, 0.26, 0.19), fur)
        place(f"{side} foot", (s * 0.42, -1.88, 0.38), (0.30, 0.19, 0.38), fur)
    place("body", (0, -1.30, 0), (0.76, 0.72, 0.64), fur)
    place("belly", (0, -1.36, 0.20), (0.54, 0.50, 0.50), belly)
    return parts


LANDMARKS = {  # name: (part, point on the part's unit sphere)
    "nose": ("nose", (0, 0, 1)),
    "left eye": ("left pupil", (0, 0, 1)),
    "right eye": ("right pupil", (0, 0, 1)),
    "left ear tip": ("left ear", (0, 0.985, 0.17)),
    "right ear tip": ("right ear", (0, 0.985, 0.17)),
    "chin": ("jaw", (0, -0.5, 0.866)),
    "belly": ("belly", (0, 0, 1)),
    "left foot": ("left foot", (0, 0, 1)),
    "right foot": ("right foot", (0, 0, 1)),
}


@dataclass(frozen=True)
class Picture:
    """A rendered scene: image (H, W, 3) in 0..1, and per pixel the part seen there (-1: background) (H, W)."""

    image: Array
    part: NDArray[np.int16]
    depth: Array  # (H, W), distance along the ray in camera units, inf where no part is hit
    names: tuple[str, ...] = field(repr=False)


def render(scene: Scene, size: int = 64, supersample: int = 3) -> Picture:
    """Ray-cast a scene into a square picture.

    `size` is the side in pixels; each pixel is the mean of `supersample`² rays. The part and depth maps
    come from the ray nearest to the pixel's centre, so they are exact, not averaged.
    """
    n = size * supersample
    rays = _camera_rays(n)
    parts = creature_parts(scene)
    depth = np.full((n, n), np.inf, np.float32)
    seen = np.full((n, n), -1, np.int16)
    for index, part in enumerate(parts):
        rows, columns = _screen_box(part, n)
        hit = _hit(part, rays[rows, columns])
        nearer = hit < depth[rows, columns]
        depth[rows, columns][nearer] = hit[nearer]
        seen[rows, columns][nearer] = index
    image = _backdrop(scene, rays)
    to_light = _unit(np.array([np.sin(np.radians(scene.light)) * 1.2, 1.1, 1.5], np.float32))
    for index, part in enumerate(parts):
        here = seen == index
        if here.any():
            image[here] = _shade(part, rays[here], depth[here], to_light)
    middle = slice(supersample // 2, None, supersample)
    small = image.reshape(size, supersample, size, supersample, 3).mean((1, 3))
    return Picture(small.clip(0, 1), seen[middle, middle], depth[middle, middle], tuple(p.name for p in parts))


def landmarks(scene: Scene, size: int = 64) -> dict[str, tuple[float, float, bool]]:
    """Where each landmark is in the picture: name → (x, y, visible), x and y in pixels, pixel centres at integers.

    A landmark is visible when the first surface that its ray meets is its own part's, at its own depth.
    """
    parts = creature_parts(scene)
    by_name = {part.name: part for part in parts}
    found = {}
    for name, (owner, local) in LANDMARKS.items():
        part = by_name[owner]
        world = part.matrix @ _unit(np.array(local, np.float32)) + part.centre
        x, y, distance = _project(world, size)
        ray = (_from_camera(world) / distance)[None, None]
        first = min(float(_hit(other, ray)[0, 0]) for other in parts)
        found[name] = (x, y, bool(first > distance - 0.03))
    return found


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Turn right by yaw, then nod down by pitch, then tilt clockwise by roll (degrees)."""
    a, b, c = np.radians([yaw, pitch, -roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return tilt @ turn @ nod


def _unit(v: NDArray[np.floating]) -> Array:
    return (v / np.linalg.norm(v, axis=-1, keepdims=True)).astype(np.float32)


def _camera_frame() -> Array:
    """Rows: the camera's right, up and forward directions in the world (3, 3)."""
    forward = _unit(LOOK_AT - CAMERA)
    right = _unit(np.cross(forward, np.array([0, 1, 0], np.float32)))
    return np.stack([right, np.cross(right, forward), forward]).astype(np.float32)


def _camera_rays(n: int) -> Array:
    """Direction of the ray through each pixel's centre (n, n, 3), of unit length along the camera's axis."""
    across = ((np.arange(n, dtype=np.float32) + 0.5) / n * 2 - 1) * HALF_VIEW
    right, up, forward = _camera_frame()
    return forward + across[None, :, None] * right - across[:, None, None] * up


def _from_camera(world: Array) -> Array:
    return (world - CAMERA).astype(np.float32)


def _project(world: Array, size: int) -> tuple[float, float, float]:
    """World point (3,) → x, y in pixels (centres at integers) and distance along the camera's axis."""
    right, up, forward = _camera_frame() @ _from_camera(world)
    x = (right / forward / HALF_VIEW + 1) / 2 * size - 0.5
    y = (1 - up / forward / HALF_VIEW) / 2 * size - 0.5
    return float(x), float(y), float(forward)


def _screen_box(part: Part, n: int) -> tuple[slice, slice]:
    """Rows and columns of an n×n picture that surely hold the part."""
    x, y, distance = _project(part.centre, n)
    radius = np.linalg.norm(part.matrix, 2) / (distance - 1.5) / HALF_VIEW / 2 * n + 1
    low, high = np.clip([[y - radius, x - radius], [y + radius + 2, x + radius + 2]], 0, n).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def _hit(part: Part, rays: Array) -> Array:
    """Distance at which each ray (…, 3) from the camera first meets the ellipsoid; inf where it misses."""
    inverse = part.inverse
    origin = inverse @ (CAMERA - part.centre)
    direction = rays @ inverse.T
    a = np.einsum("...i,...i->...", direction, direction)
    b = direction @ origin
    root = b * b - a * (origin @ origin - 1)
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf).astype(np.float32)


def _shade(part: Part, rays: Array, distance: Array, to_light: Array) -> Array:
    """Colour of the surface points that rays (k, 3) meet at `distance` (k,): wrapped diffuse, sky and gloss."""
    inverse = part.inverse
    point = CAMERA + distance[:, None] * rays
    normal = _unit(((point - part.centre) @ inverse.T) @ inverse)
    diffuse = ((normal @ to_light + 0.35) / 1.35).clip(0, 1)
    sky = 0.5 + 0.5 * normal[:, 1]
    halfway = _unit(to_light - _unit(rays))
    gloss = part.gloss * (np.einsum("ki,ki->k", normal, halfway).clip(0, 1) ** 40)
    light = 0.34 + 0.14 * sky + 0.58 * diffuse
    return np.asarray(part.colour, np.float32) * light[:, None] + gloss[:, None]


def _backdrop(scene: Scene, rays: Array) -> Array:
    """Sky gradient, floor, and the creature's soft shadow on the floor (n, n, 3)."""
    top, horizon, floor = (np.asarray(c, np.float32) for c in BACKGROUNDS[scene.background])
    rise = rays[..., 1:2]
    blend = ((rise + 0.08) / 0.30).clip(0, 1)
    image = horizon + (top - horizon) * blend
    with np.errstate(divide="ignore"):
        reach = np.where(rise < -1e-3, (FLOOR_Y - CAMERA[1]) / rise, np.inf)[..., 0]
    below = reach < 30
    point = CAMERA + reach[below][:, None] * rays[below]
    away = ((reach[below] - 8) / 20).clip(0, 1)[:, None] ** 0.7
    spread = 1.05 * scene.scale * (1 + 0.35 * scene.y)
    offset = (point[:, [0, 2]] - [scene.x - 0.25 * np.sin(np.radians(scene.light)), 0.1]) / [spread, 0.75 * spread]
    shadow = 0.45 * np.exp(-((offset**2).sum(1) ** 1.5)) / (1 + 1.2 * max(scene.y, 0))
    image[below] = (floor + (horizon - floor) * away) * (1 - shadow[:, None])
    return image.astype(np.float32)
