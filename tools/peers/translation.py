"""pix2pix, CycleGAN and CUT in PyTorch: the networks of translators.h and patch_nce.h in NCHW, with the names of pastiche's files,
and the steps of TranslationTrainer. `tools/parity` compares them with pastiche's."""
import copy
import math

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

# Streams of random numbers, as in nn.h.
PATCHES, POOL = 0x4000, 0x5000

# ---- networks --------------------------------------------------------------------------------------------------------


def conv(inputs, outputs, kernel, **options):
    return nn.Conv2d(inputs, outputs, kernel, **options)


def leaky(x):
    return F.leaky_relu(x, 0.2)


def upsample(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


def reflect(x, by):
    return F.pad(x, (by, by, by, by), mode="reflect")


class Unet(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.depth, self.dropout = c["depth"], c["dropout"]
        channels = self.feature_channels = [c["channels"], *(min(2**i, 8) * c["ngf"] for i in range(self.depth))]
        for i in range(self.depth):
            self.add_module(f"down{i + 1}", conv(*channels[i : i + 2], 4, stride=2, padding=1, bias=not self.has_norm(i)))
            if self.has_norm(i):
                self.add_module(f"down_norm{i + 1}", self.norm(channels[i + 1]))
        for i in reversed(range(self.depth)):
            inputs, outputs = channels[i + 1] * (1 if i + 1 == self.depth else 2), channels[i] if i > 0 else c["ngf"]
            self.add_module(f"up{i + 1}", conv(inputs, outputs, 3, padding=1, bias=False))
            self.add_module(f"up_norm{i + 1}", self.norm(outputs))
        self.to_image = conv(c["ngf"] + c["channels"], c["channels"], 3, padding=1)

    def norm(self, channels):
        return nn.GroupNorm(math.gcd(channels, 8), channels)

    def has_norm(self, i):
        return 0 < i < self.depth - 1

    def encode(self, x):
        features = [x]
        for i in range(self.depth):
            x = getattr(self, f"down{i + 1}")(features[-1])
            features.append(leaky(getattr(self, f"down_norm{i + 1}")(x) if self.has_norm(i) else x))
        return features

    def decode(self, features):
        y = features[-1]
        for i in reversed(range(self.depth)):
            y = F.relu(getattr(self, f"up_norm{i + 1}")(getattr(self, f"up{i + 1}")(upsample(y))))
            if i > 0 and i >= self.depth - 3:
                y = F.dropout(y, self.dropout, self.training)
            y = torch.cat([y, features[i]], 1)
        return torch.tanh(self.to_image(y))

    def forward(self, x):
        return self.decode(self.encode(x))


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = conv(channels, channels, 3, bias=False)
        self.conv2 = conv(channels, channels, 3, bias=False)

    def forward(self, x):
        y = F.relu(F.instance_norm(self.conv1(reflect(x, 1))))
        return x + F.instance_norm(self.conv2(reflect(y, 1)))


class Resnet(nn.Module):
    def __init__(self, c):
        super().__init__()
        n, self.blocks = c["ngf"], c["blocks"]
        self.feature_channels = [c["channels"], n, 2 * n, 4 * n] + [4 * n] * (self.blocks >= 2)
        self.stem = conv(c["channels"], n, 7, bias=False)
        self.down1 = conv(n, 2 * n, 3, stride=2, padding=1, bias=False)
        self.down2 = conv(2 * n, 4 * n, 3, stride=2, padding=1, bias=False)
        for i in range(self.blocks):
            self.add_module(f"block{i + 1}", Block(4 * n))
        self.up1 = conv(4 * n, 2 * n, 3, padding=1, bias=False)
        self.up2 = conv(2 * n, n, 3, padding=1, bias=False)
        self.to_image = conv(n, c["channels"], 7)

    def run_blocks(self, x, begin, end):
        for i in range(begin, end):
            x = getattr(self, f"block{i + 1}")(x)
        return x

    def encode(self, x):
        features = [x, F.relu(F.instance_norm(self.stem(reflect(x, 3))))]
        for layer in (self.down1, self.down2):
            features.append(F.relu(F.instance_norm(layer(features[-1]))))
        if self.blocks >= 2:
            features.append(self.run_blocks(features[-1], 0, self.blocks // 2))
        return features

    def decode(self, features):
        y = self.run_blocks(features[-1], self.blocks // 2, self.blocks)
        for layer in (self.up1, self.up2):
            y = F.relu(F.instance_norm(layer(upsample(y))))
        return torch.tanh(self.to_image(reflect(y, 3)))

    def forward(self, x):
        return self.decode(self.encode(x))


def translator(c):
    """`c` is as in a model file's metadata."""
    return {"unet": Unet, "resnet": Resnet}[c["name"]](c)


class PatchDiscriminator(nn.Module):
    def __init__(self, channels, ndf, layers):
        super().__init__()
        self.convs = layers + 1
        for i in range(self.convs):
            outputs = min(2**i, 8) * ndf
            self.add_module(f"conv{i + 1}", conv(channels, outputs, 4, stride=2 if i < layers else 1, padding=1, bias=i == 0))
            channels = outputs
        self.head = conv(channels, 1, 4, padding=1)

    def forward(self, x):
        x = leaky(self.conv1(x))
        for i in range(1, self.convs):
            x = leaky(F.instance_norm(getattr(self, f"conv{i + 1}")(x)))
        return self.head(x)


class PatchHead(nn.Module):
    def __init__(self, feature_channels, width=256):
        super().__init__()
        for i, channels in enumerate(feature_channels, 1):
            head = nn.Module()
            head.linear1, head.linear2 = nn.Linear(channels, width), nn.Linear(width, width)
            self.add_module(f"head{i}", head)

    def forward(self, features, places):
        """`places` [N,S] of each feature: which pixels of each picture. Unit vectors [N,S,width] of each feature."""
        vectors = []
        for i, (x, at) in enumerate(zip(features, places), 1):
            head = getattr(self, f"head{i}")
            x = x.flatten(2).transpose(1, 2).take_along_dim(at[:, :, None], 1)  # [N,S,C]
            v = head.linear2(F.relu(head.linear1(x)))
            vectors.append(v / (v.square().sum(2, keepdim=True) + 1e-7).sqrt())
        return vectors


# ---- losses ----------------------------------------------------------------------------------------------------------


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def discriminator_loss(real, fake, kind, smoothing):
    if kind == "lsgan":
        return (real - (1 - smoothing)).square().mean() + fake.square().mean()
    if kind == "hinge":
        return F.relu(1 - smoothing - real).mean() + F.relu(1 + fake).mean()
    if kind == "wgan":
        return fake.mean() - real.mean()
    if kind == "relativistic":
        return bce(real - fake, 1 - smoothing)
    return bce(real, 1 - smoothing) + bce(fake, 0)


def generator_loss(fake, kind, judge_real):
    if kind == "relativistic":
        return bce(fake - judge_real().detach(), 1)
    if kind == "lsgan":
        return (fake - 1).square().mean()
    if kind in ("hinge", "wgan"):
        return -fake.mean()
    return -bce(fake, 0) if kind == "minimax" else bce(fake, 1)


def patch_nce(result, source, temperature):
    losses = []
    for q, k in zip(result, source):
        similarity = q @ k.transpose(1, 2) / temperature  # [N,S,S]
        own = torch.arange(similarity.shape[1]).expand(similarity.shape[:2])
        losses.append(F.cross_entropy(similarity.transpose(1, 2), own))
    return sum(losses) / len(losses)


# ---- training --------------------------------------------------------------------------------------------------------


def ema_decay(settings, step):
    """Of the averages of weights in this step, the first being 1."""
    return min(settings["ema"], (1 + step) / (10 + step)) if settings.get("ema-warmup") else settings["ema"]


class Training:
    """TranslationTrainer. `settings` are options of `pastiche train`; words(stream, step, count) draws 32-bit numbers; `steps` is
    of the whole training, for the decay of the learning rates."""

    def __init__(self, settings, network, words, steps=0):
        self.settings, self.words, self.steps, self.step_number = settings, words, steps, 0
        self.model, self.loss = settings["model"], settings["loss"]
        side = min(network["height"], network["width"])
        judged = network["channels"] * (2 if self.model == "pix2pix" else 1)

        def judge():
            return PatchDiscriminator(judged, settings["ndf"], 3 if side >= 128 else 2 if side >= 48 else 1)

        self.networks = {"G": translator(network), "D": judge()}
        if self.model == "cyclegan":
            self.networks |= {"R": translator(network), "S": judge()}
        if self.model == "cut":
            self.networks["F"] = PatchHead(self.networks["G"].feature_channels)
        self.averages = {}
        self.pools = {"G": [], "R": []}

    def begin(self, **adam):
        """From the weights that the networks have now. `adam` is how PyTorch is to compute Adam."""
        if self.settings["ema"] > 0:
            self.averages = {name: copy.deepcopy(self.networks[name]) for name in ("G", "R") if name in self.networks}
        self.optimizers = {}
        for side, rate in (("GRF", "lr-g"), ("DS", "lr-d")):
            parameters = [p for name in side if name in self.networks for p in self.networks[name].parameters()]
            self.optimizers[side[0]] = torch.optim.Adam(parameters, lr=self.settings[rate], eps=self.settings["adam-eps"],
                                                        betas=(self.settings["beta1"], self.settings["beta2"]), **adam)

    def update(self, side, loss):
        optimizer = self.optimizers[side]
        group = optimizer.param_groups[0]
        if self.steps > 0 and self.settings["decay-from"] < 1:
            left = (self.steps - self.step_number + 1) / (self.steps * (1 - self.settings["decay-from"]))
            group["lr"] = self.settings[f"lr-{side.lower()}"] * min(left, 1)
        for name in ("l1", "l2"):
            if self.settings[name] > 0:
                weights = [p for p in group["params"] if p.dim() > 1]
                loss = loss + self.settings[name] * sum(p.abs().sum() if name == "l1" else p.square().sum() for p in weights)
        optimizer.zero_grad()
        loss.backward(inputs=group["params"])
        optimizer.step()
        for parameter in self.optimizers["D"].param_groups[0]["params"]:
            parameter.requires_grad_(side == "G")  # spares a compiled D the gradients that the update of G does not ask for

    def step(self, a, b):
        """On pictures [N,C,H,W] in [-1, 1]. The losses of G and D, the means of sigmoid(D(.)), and the content loss."""
        self.step_number += 1
        told = getattr(self, f"{self.model}_step")(a, b)
        with torch.no_grad():
            for name, average in self.averages.items():
                torch._foreach_lerp_(list(average.parameters()), list(self.networks[name].parameters()), 1 - ema_decay(self.settings, self.step_number))
            loss_g, loss_d, real_logits, fake_logits, content = told
            if self.loss == "relativistic":
                real_logits, fake_logits = real_logits - fake_logits, fake_logits - real_logits
            return [value.item() for value in (loss_g, loss_d, real_logits.sigmoid().mean(), fake_logits.sigmoid().mean(), content)]

    def loss_of_d(self, real_logits, fake_logits):
        return 0.5 * discriminator_loss(real_logits, fake_logits, self.loss, self.settings["label-smoothing"])

    def pix2pix_step(self, a, b):
        G, D = self.networks["G"], self.networks["D"]
        fake = G(a)
        real_logits, fake_logits = D(torch.cat([a, b], 1)), D(torch.cat([a, fake.detach()], 1))
        loss_d = self.loss_of_d(real_logits, fake_logits)
        self.update("D", loss_d)
        content = (fake - b).abs().mean()
        loss_g = generator_loss(D(torch.cat([a, fake], 1)), self.loss, lambda: D(torch.cat([a, b], 1))) + self.settings["lambda-l1"] * content
        self.update("G", loss_g)
        return loss_g, loss_d, real_logits, fake_logits, content

    def cyclegan_step(self, a, b):
        G, D, R, S = (self.networks[name] for name in "GDRS")
        fake_b, fake_a = G(a), R(b)
        real_logits, fake_logits = D(b), D(self.exchange("G", fake_b))
        loss_d = self.loss_of_d(real_logits, fake_logits) + self.loss_of_d(S(a), S(self.exchange("R", fake_a)))
        self.update("D", loss_d)
        content = (R(fake_b) - a).abs().mean() + (G(fake_a) - b).abs().mean()
        loss_g = generator_loss(D(fake_b), self.loss, lambda: D(b)) + generator_loss(S(fake_a), self.loss, lambda: S(a))
        loss_g = loss_g + self.settings["lambda-cycle"] * content
        if self.settings["lambda-identity"] > 0:
            kept = (G(b) - b).abs().mean() + (R(a) - a).abs().mean()
            loss_g = loss_g + self.settings["lambda-cycle"] * self.settings["lambda-identity"] * kept
        self.update("G", loss_g)
        return loss_g, loss_d, real_logits, fake_logits, content

    def cut_step(self, a, b):
        G, D, head = (self.networks[name] for name in "GDF")
        source = G.encode(torch.cat([a, b]))
        result = G.decode(source)
        fake = result[: len(a)]
        real_logits, fake_logits = D(b), D(fake.detach())
        loss_d = self.loss_of_d(real_logits, fake_logits)
        self.update("D", loss_d)
        places = [self.places(i, len(x), x[0, 0].numel()) for i, x in enumerate(source)]
        with torch.no_grad():
            keys = head(source, places)
        content = patch_nce(head(G.encode(result), places), keys, self.settings["temperature"])
        loss_g = generator_loss(D(fake), self.loss, lambda: D(b)) + self.settings["lambda-nce"] * content
        self.update("G", loss_g)
        return loss_g, loss_d, real_logits, fake_logits, content

    @torch.no_grad()
    def exchange(self, name, results):
        """Half of the results that a discriminator sees are earlier ones, whose places the new ones take."""
        pool, most, shown = self.pools[name], self.settings["pool"], []
        drawn = self.words(POOL + (name == "R"), self.step_number, 4 * len(results)).reshape(-1, 4)
        for result, (exchange, place, *_) in zip(results, drawn):
            if len(pool) < most:
                pool.append(result)
            elif most > 0 and exchange % 2 == 1:
                result, pool[place % most] = pool[place % most], result
            shown.append(result)
        return torch.stack(shown)

    def places(self, feature, pictures, pixels):
        """A pixel from each of so many strata, as sample_pixels draws them."""
        count = min(self.settings["patches"], pixels)
        begin = np.arange(count + 1) * pixels // count
        uniform = 2 * (self.words(PATCHES + feature, self.step_number, pictures * count).astype(np.int64) >> 9) + 1  # of 2^24
        return torch.from_numpy(begin[:-1] + (uniform.reshape(pictures, count) * np.diff(begin) >> 24))
