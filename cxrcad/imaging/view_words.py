"""Words for views and body parts in radiographs' headers, in capitals without accents, of several languages."""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "CHEST",
    "FRONTAL",
    "LOCALIZER",
    "NEUTRAL",
    "NOT_FRONTAL",
    "OTHER_MODALITIES",
    "OTHER_PARTS",
    "POSITIONS",
    "SIDES",
    "UNTOLD",
    "XRAY",
    "words",
]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


FRONTAL = _set(
    "PA AP POSTERO ANTERO POSTEROANTERIOR ANTEROPOSTERIOR FRONTAL FRONT FACE ПРЯМАЯ ПРЯМОИ 正面 正位 后前位 後前位 정면"
)
NOT_FRONTAL = _set(
    "LATERAL LAT LATERO LATEROLATERAL SAGITTAL OBLIQUE OBL AXIAL XTABLE TANGENTIAL DECUB DECUBITUS CRANIO CAUDO "
    "SEITLICH SEITLICHE SEITL PROFIL PERFIL PROFILO LATERALE LATERAAL DWARS ZIJDELINGS BOCZNE BOCZNA BOCZNY BOCNI YAN "
    "БОК БОКОВАЯ БОКОВОИ БОКОВЫЕ ПРОФИЛЬ 側面 側位 侧位 侧面 斜位 측면"
)
POSITIONS = _set("LL RL LLD RLD LLO RLO RAO LAO RPO LPO CC ML LM MLO")
"""ViewPosition's codes of other views (PS3.3 C.8.1.1.1, C.8.11.4)."""
LOCALIZER = _set(
    "LOCALIZER LOCALISER LOCALIZADOR LOCALIZZATORE SCOUT SCOUTS SCOUTVIEW TOPOGRAM TOPOGRAMM TOPOGRAMME TOPOGRAMA "
    "TOPOGRAMMA SURVIEW SCANO SCANOGRAM SCANOGRAMM SCANOGRAMMA ТОПОГРАММА 定位像 定位片"
)
"""Images of CT and MR scanners from which slices are planned; they look like radiographs."""
CHEST = _set(
    "CHEST THORAX LUNG LUNGS TORAX HEART RIB RIBS MEDIASTINUM POUMON THORACIQUE TORACE TORAKS CXR BRUST "
    "PECHO POITRINE KLATKA HRUDNIK AKCIGER "
    "ГРУДЬ ГРУДНАЯ ГРУДНОИ ГРУДИ ОГК ЛЕГКИЕ ЛЕГКИХ ФЛЮОРОГРАФИЯ 胸部 胸片 胸廓 胸腔 胸 肺 흉부 가슴 폐"
)
OTHER_PARTS = _set(
    "HAND HANDS WRIST FINGER FINGERS THUMB FOREARM ELBOW HUMERUS ARM SHOULDER CLAVICLE SCAPULA STERNUM HIP HIPS PELVIS "
    "FEMUR THIGH KNEE KNEES PATELLA LEG TIBIA FIBULA ANKLE FOOT FEET TOE TOES HEEL CALCANEUS EXTREMITY ULNA RADIUS "
    "SKULL HEAD BRAIN NECK JAW MANDIBLE MAXILLA TEETH TOOTH DENTAL PANOREX OPG TMJ SINUS SINUSES ORBIT ZYGOMA "
    "SPINE CSPINE TSPINE LSPINE SSPINE CTSPINE TLSPINE LSSPINE CERVICAL LUMBAR SACRUM COCCYX ACJOINT SCJOINT SIJOINT "
    "EXTREMITIES EXTREM LIMB NASAL NOSE FACIAL PANORAMIC MAMMO MAMMOGRAPHY HAENDE "
    "ABDOMEN ABDOMINAL ABDOM ABD ABDO KUB KIDNEY BLADDER GALLBLADDER COLON STOMACH LIVER PANCREAS UTERUS BREAST MAMMA "
    "HANDWRIST HANDGELENK HUFTE HUEFTE BECKEN KNIE FUSS SCHULTER ELLENBOGEN SCHADEL SCHAEDEL WIRBELSAULE HWS BWS LWS "
    "SPRUNGGELENK UNTERSCHENKEL OBERSCHENKEL UNTERARM OBERARM ZAHN ZAHNE BASSIN HANCHE GENOU GENOUX EPAULE COUDE "
    "POIGNET CHEVILLE RACHIS CADERA MANO MANOS RODILLA HOMBRO TOBILLO CODO COLUMNA CRANEO JOELHO QUADRIL OMBRO "
    "COTOVELO PUNHO TORNOZELO COLUNA ABDOME BACINO GINOCCHIO CAVIGLIA SPALLA GOMITO POLSO COLONNA HEUP VOET SCHOUDER "
    "КИСТЬ КИСТИ РУКА СТОПА СТОПЫ КОЛЕНО КОЛЕННЫИ ТАЗ ТАЗА ТАЗОБЕДРЕННЫИ ЧЕРЕП ЧЕРЕПА ПЛЕЧО ЛОКОТЬ ПОЗВОНОЧНИК "
    "ПОЗВОНОЧНИКА БРЮШНАЯ БРЮШНОИ ЖИВОТ БЕДРО ГОЛЕНЬ ШЕЯ ШЕИНЫИ ЗУБ ЗУБЫ "
    "手 手部 足 足部 膝 腰椎 頸椎 颈椎 胸椎 脊椎 脊柱 頭部 头部 頭蓋 颅 骨盆 骨盤 腹部 髋 股関節 肩 肘 腕 踝 牙 歯 "
    "下肢 上肢 손 무릎 복부 골반 어깨 두개골 경추 요추 발목"
)
"""Of PS3.16 Annex L, what is seen on radiographs, plurals, and words of other languages."""
UNTOLD = _set("UNKNOWN UNSPECIFIED UNDEFINED OTHER NONE NA DEFAULT PORTABLE TRUNK TORSO BODY WHOLEBODY THORACIC")
"""What BodyPartExamined may be of a chest radiograph though it does not say so."""
OTHER_MODALITIES = _set(
    "ANN AR ASMT AU BDUS BI BMD CFM CT CTPROTOCOL DMS DG DOC ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER "
    "KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS PLAN POS PR PT PX REG RESP RTDOSE RTIMAGE "
    "RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC "
    "AS CD CF CP CS DD DM DS EC FA FS LP MA MS OPR ST"
)
"""The standard's modalities, also retired, that make no chest radiograph (DICOM PS3.3 C.7.3.1.1.1).

DX, CR, RG, RF, captures (OT), and codes that the standard does not know are read.
"""
XRAY = _set(
    "XR RX XRAY VIEW X RAY V DX CR DR DE ROENTGEN RONTGEN RADIOGRAPH RADIOGRAPHY RADIOGRAPHIE RADIOGRAFIA AUFNAHME"
)
"""What may stand beside a body part and its view."""
SIDES = _set(
    "L R LT RT LEFT RIGHT LINKS RECHTS GAUCHE DROITE DROIT IZQUIERDO IZQUIERDA DERECHO DERECHA SINISTRA DESTRA"
)
NEUTRAL = _set(
    "XR RX XRAY VIEW THORACIC UPPER LOWER LEFT RIGHT BOTH JOINT GELENK AUFNAHME UBERSICHT UEBERSICHT "
    "手術 手术 手法 不足 손상"
)
"""Words that tell neither, of which some hold one that does."""
KNOWN = FRONTAL | NOT_FRONTAL | LOCALIZER | CHEST | OTHER_PARTS | NEUTRAL
UNSPACED = sorted((each for each in KNOWN if each[0] > "Я"), key=len, reverse=True)
WORD = re.compile("[A-Z]+|[А-Я]+|" + "|".join(UNSPACED))
PA = re.compile(
    r"(?<![A-Z])(?:P(?:OST(?:ERIOR)?)?[\W_]{1,3}(?:TO )?A(?:NT(?:ERIOR)?)?"
    r"|A(?:NT(?:ERIOR)?)?[\W_]{1,3}(?:TO )?P(?:OST(?:ERIOR)?)?)(?![A-Z])"
)
"""P.A., A/P, posterior-anterior."""
SIDE = re.compile(r"(?:LT|RT|L|R)(?P<after>\w{3,})|(?P<before>\w{3,}?)(?:LT|RT|L|R)")
"""LHAND, LLATERAL, HANDL: a word with its side."""


def words(text: str) -> frozenset[str]:
    """The words in capitals, without their accents; of a script without spaces those that are known here.

    ChestLat and CHESTLAT are two words, P.A. is one, and the side is left off LHAND and RLATERAL.
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    plain = "".join(each for each in unicodedata.normalize("NFKD", apart.upper()) if not unicodedata.combining(each))
    found = WORD.findall(PA.sub("PA", unicodedata.normalize("NFC", plain)))
    return frozenset(part for word in found for part in _parts(word))


def _parts(word: str) -> tuple[str, ...]:
    """A word, or the known ones of which it is made."""
    if word in KNOWN:
        return (word,)
    for place in range(2, len(word) - 1):
        if word[:place] in KNOWN and word[place:] in KNOWN:
            return word[:place], word[place:]
    sided = SIDE.fullmatch(word)
    bare = (sided["after"] or sided["before"]) if sided else ""
    return (bare,) if bare in KNOWN - FRONTAL else (word,)
