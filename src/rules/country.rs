//! Countries, as rules name them: ISO 3166 codes, and the five names that rules have always had.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A country, by its ISO 3166-1 alpha-2 code.
///
/// ```
/// use trunkline::Country;
///
/// let uae: Country = "uae".parse()?;
/// assert_eq!(uae, "ARE".parse()?);
/// assert_eq!(uae.code(), "AE");
/// assert_eq!(uae.to_string(), "the United Arab Emirates (AE)");
/// # Ok::<(), trunkline::NoCountry>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    /// The alpha-2 code, in capitals.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = NoCountry;

    /// Reads an alpha-2 or alpha-3 code or one of the historical names, in capitals or not.
    fn from_str(text: &str) -> Result<Self, NoCountry> {
        let text = text.trim();
        let named = NAMES.iter().find(|(name, ..)| text.eq_ignore_ascii_case(name));
        if let Some((_, code, _)) = named {
            return Ok(Self(**code));
        }
        let codes = ISO_3166.split(' ').find(|codes| match text.len() {
            2 => codes[..2].eq_ignore_ascii_case(text),
            3 => codes[2..].eq_ignore_ascii_case(text),
            _ => false,
        });
        codes.and_then(|codes| Some(Self(codes.as_bytes()[..2].try_into().ok()?))).ok_or(NoCountry)
    }
}

impl fmt::Display for Country {
    /// Writes the name, where it has one here, and the code.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, code, _)| **code == self.0) {
            Some((.., name)) => write!(out, "{name} ({})", self.code()),
            None => out.write_str(self.code()),
        }
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.code())
    }
}

/// Why a text is no [`Country`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 3166 code, such as IN, nor india, uae, usa, uk or australia")]
pub struct NoCountry;

/// What rules have called some countries before they could name all: name, code, and how to call
/// them in a sentence.
const NAMES: [(&str, &[u8; 2], &str); 5] = [
    ("india", b"IN", "India"),
    ("uae", b"AE", "the United Arab Emirates"),
    ("usa", b"US", "the United States"),
    ("uk", b"GB", "the United Kingdom"),
    ("australia", b"AU", "Australia"),
];

/// Every alpha-2 code with its alpha-3 code behind it, as ISO 3166-1 has them in 2026; and Ascension,
/// Tristan da Cunha and Kosovo, which have numbers of their own and codes outside of the list.
const ISO_3166: &str = "\
    ACASC ADAND AEARE AFAFG AGATG AIAIA ALALB AMARM AOAGO AQATA ARARG ASASM ATAUT AUAUS AWABW \
    AXALA AZAZE BABIH BBBRB BDBGD BEBEL BFBFA BGBGR BHBHR BIBDI BJBEN BLBLM BMBMU BNBRN BOBOL \
    BQBES BRBRA BSBHS BTBTN BVBVT BWBWA BYBLR BZBLZ CACAN CCCCK CDCOD CFCAF CGCOG CHCHE CICIV \
    CKCOK CLCHL CMCMR CNCHN COCOL CRCRI CUCUB CVCPV CWCUW CXCXR CYCYP CZCZE DEDEU DJDJI DKDNK \
    DMDMA DODOM DZDZA ECECU EEEST EGEGY EHESH ERERI ESESP ETETH FIFIN FJFJI FKFLK FMFSM FOFRO \
    FRFRA GAGAB GBGBR GDGRD GEGEO GFGUF GGGGY GHGHA GIGIB GLGRL GMGMB GNGIN GPGLP GQGNQ GRGRC \
    GSSGS GTGTM GUGUM GWGNB GYGUY HKHKG HMHMD HNHND HRHRV HTHTI HUHUN IDIDN IEIRL ILISR IMIMN \
    ININD IOIOT IQIRQ IRIRN ISISL ITITA JEJEY JMJAM JOJOR JPJPN KEKEN KGKGZ KHKHM KIKIR KMCOM \
    KNKNA KPPRK KRKOR KWKWT KYCYM KZKAZ LALAO LBLBN LCLCA LILIE LKLKA LRLBR LSLSO LTLTU LULUX \
    LVLVA LYLBY MAMAR MCMCO MDMDA MEMNE MFMAF MGMDG MHMHL MKMKD MLMLI MMMMR MNMNG MOMAC MPMNP \
    MQMTQ MRMRT MSMSR MTMLT MUMUS MVMDV MWMWI MXMEX MYMYS MZMOZ NANAM NCNCL NENER NFNFK NGNGA \
    NINIC NLNLD NONOR NPNPL NRNRU NUNIU NZNZL OMOMN PAPAN PEPER PFPYF PGPNG PHPHL PKPAK PLPOL \
    PMSPM PNPCN PRPRI PSPSE PTPRT PWPLW PYPRY QAQAT REREU ROROU RSSRB RURUS RWRWA SASAU SBSLB \
    SCSYC SDSDN SESWE SGSGP SHSHN SISVN SJSJM SKSVK SLSLE SMSMR SNSEN SOSOM SRSUR SSSSD STSTP \
    SVSLV SXSXM SYSYR SZSWZ TATAA TCTCA TDTCD TFATF TGTGO THTHA TJTJK TKTKL TLTLS TMTKM TNTUN \
    TOTON TRTUR TTTTO TVTUV TWTWN TZTZA UAUKR UGUGA UMUMI USUSA UYURY UZUZB VAVAT VCVCT VEVEN \
    VGVGB VIVIR VNVNM VUVUT WFWLF WSWSM XKXKX YEYEM YTMYT ZAZAF ZMZMB ZWZWE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_historical_names_are_read_in_any_case() {
        for (text, code) in [
            ("india", "IN"),
            ("UAE", "AE"),
            ("Usa", "US"),
            ("uk", "GB"),
            ("australia", "AU"),
            ("in", "IN"),
            ("GBR", "GB"),
            (" ZW ", "ZW"),
            ("ad", "AD"),
        ] {
            assert_eq!(text.parse::<Country>().unwrap().code(), code, "{text}");
        }
    }

    #[test]
    fn what_is_no_country_is_refused() {
        for text in ["", "XX", "global", "D A", "I", "NDA", "+91", "é", "ADAND", "indien"] {
            assert_eq!(text.parse::<Country>(), Err(NoCountry), "{text}");
        }
    }

    #[test]
    fn the_list_is_whole() {
        let codes: Vec<_> = ISO_3166.split(' ').collect();
        assert_eq!(codes.len(), 249 + 3);
        assert!(codes.iter().all(|codes| codes.len() == 5), "{codes:?}");
    }
}
