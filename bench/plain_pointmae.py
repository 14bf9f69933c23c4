"""A Point-MAE pre-training step (arXiv:2203.06604) written the plain way, to compare with: every patch embedded, the patch
network's 512-wide layer unsplit, farthest points and neighbours found in the step, attention spelled out. Not for use.

B shapes, P points, G = 64 groups, K = 32 points per group, D = 384 wide.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS, MEMBERS, WIDTH, HEADS, VISIBLE = 64, 32, 384, 6, 26


class Embed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(3, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1))
        self.second = nn.Sequential(nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, WIDTH, 1))

    def forward(self, groups: Tensor) -> Tensor:
        points = groups.reshape(-1, MEMBERS, 3).transpose(1, 2)  # [B G, 3, K]
        local = self.first(points)  # [B G, 256, K]
        overall = local.amax(2, keepdim=True).expand_as(local)
        return self.second(torch.cat([overall, local], 1)).amax(2).reshape(len(groups), -1, WIDTH)  # [B, G, D]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(*size[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)  # [B, H, G, D/H]
        weights = (q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(size))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class PlainPointMAE(nn.Module):
    """29 M parameters; `forward(points [B, P, 3])` is the Chamfer-L2 loss of the hidden patches."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = Embed()
        self.position, self.decoder_position = (nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, WIDTH)) for _ in range(2))
        self.blocks, self.decoder = (nn.ModuleList(Block() for _ in range(depth)) for depth in (12, 4))
        self.norm, self.decoder_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.head = nn.Linear(WIDTH, 3 * MEMBERS)

    def forward(self, points: Tensor) -> Tensor:
        batch = len(points)
        centres = points.gather(1, farthest(points)[..., None].expand(-1, -1, 3))  # [B, G, 3]
        nearest = torch.cdist(centres, points).topk(MEMBERS, largest=False).indices  # [B, G, K]
        groups = points[torch.arange(batch)[:, None, None], nearest] - centres[:, :, None]
        order = torch.rand(batch, GROUPS).argsort(1)
        shown, hidden = order[:, :VISIBLE], order[:, VISIBLE:]
        rows = torch.arange(batch)[:, None]
        tokens = self.embed(groups)[rows, shown]
        position = self.position(centres[rows, shown])
        for block in self.blocks:
            tokens = block(tokens + position)
        masks = self.mask_token.expand(batch, GROUPS - VISIBLE, -1)
        tokens = torch.cat([self.norm(tokens), masks], 1)  # [B, G, D]
        position = self.decoder_position(centres[rows, order])
        for block in self.decoder:
            tokens = block(tokens + position)
        made = self.head(self.decoder_norm(tokens[:, VISIBLE:])).reshape(-1, MEMBERS, 3)
        distance = torch.cdist(made, groups[rows, hidden].reshape(-1, MEMBERS, 3)).square()
        return distance.amin(1).mean() + distance.amin(2).mean()


def farthest(points: Tensor) -> Tensor:
    """Farthest-point sampling from index 0. [B, P, 3] -> [B, G]"""
    index = torch.zeros(len(points), GROUPS, dtype=torch.long)
    nearest = torch.full(points.shape[:2], torch.inf)
    rows = torch.arange(len(points))
    for i in range(1, GROUPS):
        nearest = nearest.minimum((points - points[rows, index[:, i - 1]][:, None]).square().sum(-1))
        index[:, i] = nearest.argmax(1)
    return index
