#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pastiche/data.h"

// Pictures of two domains, A to be turned into B: pairs for pix2pix (Isola et al., 2017), or each on its own for
// CycleGAN and CUT.
namespace pastiche {

enum class Pairing { paired, unpaired };

struct DomainOptions {
  DataOptions data{};   // of both domains; the size is what the networks see
  int load_height = 0;  // training pictures are resized to this and cropped at random, as pix2pix's jitter does
  int load_width = 0;   // with 286 for 256; 0: that size, and no crop
  double holdout = 0;   // the part that is kept from training, at least one picture where it is above 0
};

struct DomainPair {
  Pairing pairing = Pairing::paired;
  int height = 0;  // what PairLoader gives and the held-out pictures have; `a` and `b` have the load size
  int width = 0;
  int channels = 0;  // of both: 1 where every picture of both is gray, else 3, unless the options say
  // For training. Where they are paired, picture i of the one belongs to picture i of the other.
  std::unique_ptr<Dataset> a;
  std::unique_ptr<Dataset> b;
  // The same of those held out, whole, and empty without.
  std::unique_ptr<Dataset> holdout_a;
  std::unique_ptr<Dataset> holdout_b;
  std::vector<SkippedFile> unmatched;  // for want of the other of the pair
  LeftOut left_out;                    // as of a Dataset, of both
  std::string name;                    // as of a Dataset
  std::string summary;                 // one line: what was found where, and how many of each
  std::string fingerprint;             // SHA-256 of names, contents and what was chosen for training
};

// Finds both domains: A in `data` and B in `style`; or, where `style` is empty, in the folders A/ and B/, or trainA/
// and trainB/, of `data`, or in the left and right halves of its pictures. Each domain is what open_dataset() opens.
// Pairs are those of one path within their domains but for the extension (letter case counts), or of one index in IDX;
// what has no partner is left out and listed. Which are held out follows from these paths alone. Throws Error(bad_data)
// where no such layout and no pair is found, where the domains differ in size and none was asked for, and with `strict`
// for a picture without its partner; Error(usage) for options without sense.
DomainPair open_domains(const std::filesystem::path& data, const std::filesystem::path& style, Pairing pairing,
                        const DomainOptions& options = {});

struct PairBatch {
  const Batch& a;  // picture j of the one belongs to picture j of the other where they are paired
  const Batch& b;
};

// Endless batches of both domains: pairs in one order, mirrored and cropped alike; else two orders, each with epochs,
// mirroring and crops of its own. As with BatchLoader, the batches depend on the data, `seed` and `batch` alone, and
// resume at any step; where one of a pair can't be read any more, both are replaced.
class PairLoader {
 public:
  // `options` are of each domain, but for the crop, which `data` says, and `domain`.
  PairLoader(const DomainPair& data, const LoaderOptions& options);

  // The batches of the next step, valid until the next call. Rethrows what reading them threw.
  PairBatch next();

  std::vector<SkippedFile> take_replaced();  // as of BatchLoader

 private:
  BatchLoader a_;                 // of pairs: of both
  std::optional<BatchLoader> b_;  // where there are none
};

// How the A of a pair is made from its B.
enum class SourceKind {
  edges,   // black lines on white: Sobel's gradient above a threshold
  gray,    // ITU-R 601 luma
  blur,    // the mosaic's small picture, enlarged smoothly
  mosaic,  // squares of one colour, about 16 along the shorter side
};

Image make_source(const Image& picture, SourceKind kind);  // of the same height and width; alpha shows white

struct MadePairs {
  std::int64_t pairs = 0;
  std::vector<SkippedFile> skipped;
  std::vector<std::pair<std::string, std::string>> renamed;  // files, and what they are called in A and B where another has their name
  LeftOut left_out;
};

// Writes a set of pairs for open_domains(): every picture of `data` (as of open_dataset()) over white
// as `out`/B/NAME.png, and what make_source() makes of it as `out`/A/NAME.png. `height` and `width` 0: each keeps its
// size. Pictures that can't be read are skipped. Throws Error(bad_data) where none can; Error(bad_file) where `out`
// can't be written, or holds something already that is not what a killed call left, which is removed.
MadePairs make_pairs(const std::filesystem::path& data, const std::filesystem::path& out, SourceKind kind,
                     int height = 0, int width = 0, const WorkObserver& observer = {});

}  // namespace pastiche
