/*
  Instructions to a language model inside documents.

  verdict = "quarantine": phrases with next to no use in business text. A document that quotes them (a security
                          course, a paper on prompt injection) is held too, until a reviewer releases it.
  verdict = "annotate":   phrases that honest documents have too: a flag for readers, nothing is withheld.

  [\W_]{1,6} between words stands for whatever separates them: blanks, line breaks, Markdown emphasis, underscores,
  hyphens. Letters are ASCII: text is scanned a second time in folded form, which turns accents, full-width letters
  and look-alikes into ASCII. Patterns must stay linear and anchored by words: the compiler refuses slow ones.
  All rules carry the version of the file; raise it whenever one changes.
*/

rule override_instructions
{
    meta:
        version = "1"
        family = "override"
        verdict = "quarantine"
        description = "ignore all previous instructions"
    strings:
        $prior = /\b(ignore|ignoring|disregard|disregarding|forget|do[\W_]{1,6}not[\W_]{1,6}follow|don.{1,3}t[\W_]{1,6}follow|stop[\W_]{1,6}following|pay[\W_]{1,6}no[\W_]{1,6}attention[\W_]{1,6}to)[\W_]{1,6}((all|any|every|each|of|the|your|these|those|whatever|other|and)[\W_]{1,6}){0,5}(previous|previously|prior|preceding|above|earlier|foregoing|pre-?existing|existing|original|initial|past|former|system|developer)[\W_]{1,6}((and|or|given|stated|provided|system|security|safety|user|previous|prior|above|original|initial|your|own|all|guidelines|rules|context)[\W_]{1,6}){0,3}(instructions?|prompts?|programming|guardrails)\b/i
        $after = /\b(ignore|disregard|forget|override|abandon|discard)[\W_]{1,6}((all|any|every|of|the|your|these|those)[\W_]{1,6}){0,4}(instructions|prompts|directives|commands)[\W_]{1,6}((that|which|you|were|have|been|are|was|i|we|just|they|it)[\W_]{1,6}){0,5}(above|before|previously|earlier|so[\W_]{1,6}far|until[\W_]{1,6}now|given|told|received|prior)\b/i
        $said = /\b(ignore|disregard|forget)[\W_]{1,6}(everything|anything|whatever|all)[\W_]{1,6}((that|which|you|i|we|they|was|were|is|has|have|been|else|of|the|had|things|stuff)[\W_]{1,6}){0,5}(above|before|previous|previously|told|said|instructed|instructions)\b/i
        $yours = /\b((ignore|ignoring|disregard|disregarding|forget|do[\W_]{1,6}not[\W_]{1,6}follow|don.{1,3}t[\W_]{1,6}follow|stop[\W_]{1,6}following|pay[\W_]{1,6}no[\W_]{1,6}attention[\W_]{1,6}to)|(override|overrule|overwrite|bypass|neglect|discard|dismiss|abandon|skip|regardless[\W_]{1,6}of|irrespective[\W_]{1,6}of))[\W_]{1,6}((all|any|of)[\W_]{1,6}){0,2}your[\W_]{1,6}((previous|previously|prior|preceding|above|earlier|foregoing|pre-?existing|existing|original|initial|past|former|system|developer)[\W_]{1,6})?((safety|content|ethical|core|security|own|internal|default|standard)[\W_]{1,6}){0,2}(instructions|guidelines|guardrails|system[\W_]{1,6}prompt|filters|restrictions|directives|constraints)\b/i
        $programming = /\b(ignore|ignoring|disregard|disregarding|forget|do[\W_]{1,6}not[\W_]{1,6}follow|don.{1,3}t[\W_]{1,6}follow|stop[\W_]{1,6}following|pay[\W_]{1,6}no[\W_]{1,6}attention[\W_]{1,6}to)[\W_]{1,6}((all|any|of)[\W_]{1,6}){0,2}your[\W_]{1,6}((previous|previously|prior|preceding|above|earlier|foregoing|pre-?existing|existing|original|initial|past|former|system|developer)[\W_]{1,6})?((safety|content|ethical|core|security|own|internal|default|standard)[\W_]{1,6}){0,2}(programming|training)\b/i
        $existing = /\bregardless[\W_]{1,6}of[\W_]{1,6}((any|all|your|pre)[\W_]{1,6}){0,2}(pre-?)?existing[\W_]{1,6}((safety|content|ethical)[\W_]{1,6})?(instructions|guidelines|restrictions|guardrails|prompts?)\b/i
        $user = /\b(ignore|disregard|do[\W_]{1,6}not[\W_]{1,6}answer|instead[\W_]{1,6}of[\W_]{1,6}answering|rather[\W_]{1,6}than[\W_]{1,6}answering)[\W_]{1,6}the[\W_]{1,6}(user's|users|user)[\W_]{1,6}((original|actual|next|first)[\W_]{1,6})?(question|query|prompt)\b/i
        $asked_to = /\b(if|when|whenever)[\W_]{1,6}you[\W_]{1,6}(are|re|were)[\W_]{1,6}(asked|told|instructed|prompted)[\W_]{1,6}to[\W_]{1,6}(summari[sz]e|translate|provide[\W_]{1,6}the[\W_]{1,6}answer)\b[^\n]{0,300}\b(instead|ignore|please[\W_]{1,6}(output|answer|say|respond)|output)\b/i
        $banner = /(\*{3}|={3}|#{3}|!{3})[ \t]{0,3}(NEW|UPDATED|REVISED|REAL)[\W_]{1,6}((IMPORTANT|SYSTEM|CRITICAL|URGENT)[\W_]{1,6}){0,2}INSTRUCTIONS?\b/
    condition:
        any of them
}

rule override_instructions_other_languages
{
    meta:
        version = "1"
        family = "override"
        verdict = "quarantine"
        description = "the same in other languages; written without accents, which folding removes"
    strings:
        $de = /\b(ignoriere|ignorieren[\W_]{1,6}sie|vergiss|vergessen[\W_]{1,6}sie|missachte)[\W_]{1,6}((alle|allen|die|deine|ihre|bitte|jegliche|saemtliche|samtliche)[\W_]{1,6}){0,3}(vorherigen|vorigen|bisherigen|vorangegangenen|fruheren|obigen|vorhergehenden)[\W_]{1,6}(anweisungen|instruktionen|befehle|prompts)\b/i
        $fr = /\b(ignore|ignorez|ignorer|oublie|oubliez|oublier)[\W_]{1,6}((toutes|tous|les|tes|vos|ces)[\W_]{1,6}){0,3}(instructions|consignes|directives)[\W_]{1,6}(precedentes|anterieures|ci[\W_]{1,6}dessus|initiales)\b/i
        $es = /\b(ignora|ignore|ignorar|olvida|olvide)[\W_]{1,6}((todas|todos|las|los|tus|sus)[\W_]{1,6}){0,3}(instrucciones|indicaciones|directrices)[\W_]{1,6}(anteriores|previas|precedentes|iniciales|de[\W_]{1,6}arriba)\b/i
        $pt = /\b(ignore|ignora|esqueca|desconsidere)[\W_]{1,6}((todas|todos|as|os|suas|seus)[\W_]{1,6}){0,3}(instrucoes|orientacoes|diretrizes)[\W_]{1,6}(anteriores|previas|precedentes|iniciais|acima)\b/i
        $it = /\b(ignora|ignorate|ignorare|dimentica|dimenticate)[\W_]{1,6}((tutte|tutti|le|gli|tue)[\W_]{1,6}){0,3}(istruzioni|indicazioni|direttive)[\W_]{1,6}(precedenti|iniziali|sopra)\b/i
        $nl = /\b(negeer|vergeet)[\W_]{1,6}((alle|de|je|uw)[\W_]{1,6}){0,3}(vorige|voorgaande|eerdere|bovenstaande)[\W_]{1,6}(instructies|aanwijzingen)\b/i
        $pl = /\b(zignoruj|ignoruj|zapomnij[\W_]{1,6}o)[\W_]{1,6}((wszystkie|wszystkich)[\W_]{1,6}){0,2}(poprzednie|poprzednich|wczesniejsze|wczesniejszych)[\W_]{1,6}(instrukcje|instrukcjach|polecenia|poleceniach)\b/i
        $ru = /(игнорируй|Игнорируй|забудь|Забудь)(те)?\s{1,4}(все\s{1,4})?(предыдущие|прежние|вышеуказанные|предшествующие)\s{1,4}(инструкции|указания|команды)/
        $zh = /(忽略|无视|忘记|忽視|無視|忘記)(你)?(所有|之前|以上|先前|前面|上述|此前|一切)(的)?(所有|一切)?(的)?(指令|指示|命令|提示)/
        $ja = /(これまで|以前|上記|前)の(すべての)?(指示|命令|指令)を(すべて)?(無視|忘れ)/
    condition:
        any of them
}

rule override_rules
{
    meta:
        version = "1"
        family = "override"
        verdict = "annotate"
        description = "the same about rules, guidelines and one's own instructions, as memos and policies have it too"
    strings:
        $prior = /\b((ignore|ignoring|disregard|disregarding|forget|do[\W_]{1,6}not[\W_]{1,6}follow|don.{1,3}t[\W_]{1,6}follow|stop[\W_]{1,6}following|pay[\W_]{1,6}no[\W_]{1,6}attention[\W_]{1,6}to)|(override|overrule|overwrite|bypass|neglect|discard|dismiss|abandon|skip|regardless[\W_]{1,6}of|irrespective[\W_]{1,6}of))[\W_]{1,6}((all|any|every|each|of|the|your|my|our|these|those|other|and)[\W_]{1,6}){0,5}(previous|previously|prior|preceding|above|earlier|foregoing|pre-?existing|existing|original|initial|past|former|system|developer)[\W_]{1,6}((and|or|given|stated|provided|system|security|safety|user|previous|prior|above|original|initial|your|own|all|guidelines|rules|context)[\W_]{1,6}){0,3}(instructions?|prompts?|directions|directives?|commands?|guidelines|rules|orders|constraints|restrictions|training|requests?|context|input)\b/i
        $supersede = /\b(supersedes?|overrides?|replaces?|cancels?|takes?[\W_]{1,6}(precedence|priority)[\W_]{1,6}over)[\W_]{1,6}((all|any|your|every|the)[\W_]{1,6}){0,3}(previous|prior|other|earlier|existing|system)[\W_]{1,6}((system|given)[\W_]{1,6})?(instructions?|prompts?|directives?|commands?)\b/i
        $banner = /\b(NEW|UPDATED|REVISED|REAL|ACTUAL)[\W_]{1,6}((IMPORTANT|SYSTEM|CRITICAL|URGENT)[\W_]{1,6}){0,2}INSTRUCTIONS?\b/
        $your = /\byour[\W_]{1,6}(new|real|actual|true|only|next|updated|primary|main)[\W_]{1,6}(task|instruction|instructions|objective|mission|directive|job|purpose)[\W_]{1,6}(is|are|will)\b/i
        $void = /\b(instructions|prompt|rules|directives|guidelines)[\W_]{1,6}((above|before|given|previously|you|were|have|been|that)[\W_]{1,6}){0,5}(are|is)[\W_]{1,6}((now|all|no[\W_]{1,6}longer)[\W_]{1,6}){0,2}(void|null|outdated|obsolete|invalid|superseded|cancelled|canceled|valid|in[\W_]{1,6}effect)\b/i
        $gave = /\b(gave|given)[\W_]{1,6}you[\W_]{1,6}((your|the|these|those|wrong)[\W_]{1,6}){1,2}instructions\b/i
        $know = /\bforget[\W_]{1,6}(everything|anything|all)[\W_]{1,6}((that|of|what)[\W_]{1,6}){0,2}you[\W_]{1,6}((have|ve|were)[\W_]{1,6})?(know|learned|learnt|taught)\b/i
        $obey = /\b(obey|comply[\W_]{1,6}with)[\W_]{1,6}((only|all|my|these|the|following|this)[\W_]{1,6}){1,3}(command|commands|instruction|instructions|order|orders)\b/i
    condition:
        any of them
}

rule role_markers
{
    meta:
        version = "1"
        family = "role_marker"
        verdict = "quarantine"
        description = "chat template tokens and tags that open a turn of another role"
    strings:
        $im = /<\|im_(start|end)\|>/i
        $header = /<\|(start_header_id|end_header_id|eot_id|begin_of_text|system|assistant|user|start_of_role|end_of_turn)\|>/i
        $gemma = /<(start|end)_of_turn>/i
        $inst = /\[\/?INST\]/
        $sys = /<<\/?SYS>>/
        $heading = /(^|\n)[ \t]{0,3}#{2,4}[ \t]{0,3}(system|assistant)([ \t]{1,3}(prompt|message|instructions?|override))?[ \t]{0,3}:[ \t]{0,3}\n{0,2}[ \t]{0,3}(you|ignore|disregard|override|new|from now|always|never|respond|reply|answer|obey|do not|forget)\b/i
        $tag = /<\/?(system|assistant|developer)[_-](prompt|message|instructions?|override|reminder)>/i
        $record = /<\/(document|documents|context|search_results|retrieved_context|user_input)>[^<]{0,80}<(system|instructions?|assistant|important)>/i
    condition:
        any of them
}

rule conversation_markers
{
    meta:
        version = "1"
        family = "role_marker"
        verdict = "annotate"
        description = "turns of a conversation, role tags and delimiters as text"
    strings:
        $turn = /\n[ \t]{0,3}(human|user)[ \t]{0,2}:[^\n]{0,400}\n{1,3}[ \t]{0,3}(assistant|ai|chatbot|gpt)[ \t]{0,2}:/i
        $json = /[\"']role[\"'][ \t]{0,4}:[ \t]{0,4}[\"'](system|assistant|developer)[\"'][ \t]{0,4},/i
        $tag = /<\/?(system|assistant|instructions?|important|information|admin)>/i
        $heading = /(^|\n)[ \t]{0,3}#{2,4}[ \t]{0,3}(system|assistant|instruction|response)[ \t]{0,3}:/i
        $text_end = /<\|endoftext\|>/i
        $your_prompt = /\byour[\W_]{1,6}((own|full|entire|hidden|secret)[\W_]{1,6})?(system|initial|hidden|secret)[\W_]{1,6}(prompt|instructions|message)\b/i
        $end_of_data = /(-{3,20}|={3,20}|#{3,20}|<{2,5}|\[)[ \t]{0,3}END[\W_]{1,6}(OF[\W_]{1,6})?(THE[\W_]{1,6})?(EMAIL|E-MAIL|CONTEXT|DATA|INPUT|DOCUMENTS|USER[\W_]{1,6}INPUT)\b/
    condition:
        any of them
}

rule exfiltration_command
{
    meta:
        version = "1"
        family = "exfiltration"
        verdict = "quarantine"
        description = "send the conversation or the prompt somewhere, or reveal the prompt"
    strings:
        $send = /\b(send|forward|e-?mail|post|upload|transmit|leak|exfiltrate|relay|submit)[\W_]{1,6}((me|us|all|any|the|this|of|above|your|a|copy|summary|contents|content|transcript|and|please)[\W_]{1,6}){0,8}((entire|full|whole|complete)[\W_]{1,6}(conversation|chat|chat[\W_]{1,6}history|dialogue|context)|(system|hidden|initial)[\W_]{1,6}prompt|context[\W_]{1,6}window|retrieved[\W_]{1,6}(documents|passages|context|chunks)|user's[\W_]{1,6}(questions?|query|queries|messages?|data|passwords?)|everything[\W_]{1,6}(you[\W_]{1,6}know|in[\W_]{1,6}your[\W_]{1,6}context|above))\b[^\n]{0,60}\b(to|at|via)[\W_]{1,6}((the|this|following|url|address|link|email|e-mail|endpoint|webhook|server|site)[\W_]{1,6}){0,4}(https?:\/\/|www\.|[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}\.[a-z]{2})/i
        $prompt = /\b(reveal|print|repeat|output|show|display|share|disclose|leak|tell|give|paste|write[\W_]{1,6}out|dump|recite)[\W_]{1,6}((me|us|to|the|user|your|entire|full|exact|complete|original|whole|verbatim|all|of|out|contents|content)[\W_]{1,6}){0,6}(system[\W_]{1,6}prompt|hidden[\W_]{1,6}prompt|hidden[\W_]{1,6}instructions|secret[\W_]{1,6}instructions|your[\W_]{1,6}(system|initial|original|first)[\W_]{1,6}(prompt|message|instructions))\b/i
        $words_above = /\b(repeat|print|output|copy|recite|reproduce)[\W_]{1,6}((all|of|the|every|exact|exactly|back|me|everything|verbatim)[\W_]{1,6}){1,4}((words?|text|lines?|sentences?|contents?)[\W_]{1,6})?above[\W_]{1,6}(this|starting|beginning|verbatim|in[\W_]{1,6}a)[\W_]{1,6}/i
        $given = /\b(repeat|print|output|show|reveal|share|recite)[\W_]{1,6}((me|us|the|your|exact|full|entire|first|complete|verbatim)[\W_]{1,6}){0,4}(initial|original|first|exact|earlier)[\W_]{1,6}((prompt|instructions?)[\W_]{1,6})(that[\W_]{1,6})?you[\W_]{1,6}(were[\W_]{1,6}given|received|got|have)\b/i
        $in_url = /\b(append|encode|encoded|embed|include|insert|put|place|add)[^\n.]{0,80}\b(conversation|chat[\W_]{1,6}history|system[\W_]{1,6}prompt|user's[\W_]{1,6}(query|question|message))\b[^\n.]{0,60}\b(in|into|to|as)[\W_]{1,6}((the|a|this|its|following|image|query)[\W_]{1,6}){0,3}(url|link|query[\W_]{1,6}(string|parameter)|image[\W_]{1,6}(url|link|address))\b/i
        $active_markup = /\b(include|insert|add|put|append|embed|output|return|write)[^\n]{0,60}\byour[\W_]{1,6}(response|answer|reply|output|summary)\b[^\n]{0,120}(<script|<svg|<img|<iframe|onerror|onload|javascript:|!\[)/i
    condition:
        any of them
}

rule exfiltration_command_weak
{
    meta:
        version = "1"
        family = "exfiltration"
        verdict = "annotate"
        description = "send a conversation or secrets to an address, as honest mail and how-tos have it too"
    strings:
        $send = /\b(send|forward|e-?mail|post|upload|transmit|leak|exfiltrate|relay|submit)[\W_]{1,6}((me|us|all|any|every|the|this|of|above|your|a|copy|summary|contents|content|transcript|and|please)[\W_]{1,6}){0,8}(conversation|chat|chat[\W_]{1,6}history|chat[\W_]{1,6}log|dialogue|prompts?|search[\W_]{1,6}results|api[\W_]{1,6}keys?|passwords?|credentials|secrets|tokens|session[\W_]{1,6}cookies?|cookies)\b[^\n]{0,60}\b(to|at|via)[\W_]{1,6}((the|this|following|url|address|link|email|e-mail|endpoint|webhook|server|site)[\W_]{1,6}){0,4}(https?:\/\/|www\.|[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}\.[a-z]{2})/i
        $forward = /\b(send|forward|upload|transmit|leak|exfiltrate)[\W_]{1,6}((this|the|our|your|entire|full|whole|complete)[\W_]{1,6}){1,3}(conversation|chat[\W_]{1,6}history|context[\W_]{1,6}window)\b/i
    condition:
        any of them
}

rule exfiltration_image
{
    meta:
        version = "1"
        family = "exfiltration"
        verdict = "quarantine"
        description = "an image or reference link whose address has a slot for data"
    strings:
        $parameter = /!\[[^\]\n]{0,200}\]\([ \t]{0,3}https?:\/\/[^)\s?]{1,300}\?([^)\s]{0,200}&)?(q|query|d|data|payload|text|txt|msg|message|content|context|secrets?|token|info|leak|log|exfil|prompt|chat|summary|user|email|answer|history|c|p|x)=[ \t]{0,2}(\[|\{|<|%7b|%5b|\$\{)/i
        $word = /!\[[^\]\n]{0,200}\]\([ \t]{0,3}https?:\/\/[^)\s?]{1,300}\?[^)\s]{0,200}=[ \t]{0,2}(\[|\{|<|%7b|%5b|\$\{){1,2}[ \t_]{0,2}(the|your|all|insert|base64|encoded|replace|query|data|conversation|chat|history|prompt|secret|password|answer|summary|context|message|user|email|token|info|content|document)/i
        $reference = /\n[ \t]{0,3}\[[^\]\n]{1,100}\]:[ \t]{0,4}<?https?:\/\/[^>\s?]{1,300}\?[^>\s]{0,200}=[ \t]{0,2}(\[|\{|<|%7b|%5b|\$\{){1,2}[ \t_]{0,2}(the|your|all|insert|base64|encoded|replace|query|data|conversation|chat|history|prompt|secret|password|answer|summary|context|message|user|email|token|info|content|document)/i
        $html = /<img\b[^>]{0,200}\bsrc[ \t]{0,3}=[ \t]{0,3}[\"']?https?:\/\/[^\"'>\s?]{1,300}\?[^\"'>\s]{0,200}=[ \t]{0,2}(\[|\{|<|%7b|%5b|\$\{){1,2}[ \t_]{0,2}(the|your|all|insert|base64|encoded|replace|query|data|conversation|chat|history|prompt|secret|password|answer|summary|context|message|user|email|token|info|content|document)/i
    condition:
        any of them
}

rule image_with_parameters
{
    meta:
        version = "1"
        family = "exfiltration"
        verdict = "annotate"
        description = "an image from elsewhere whose parameters may carry data"
    strings:
        $slot = /!\[[^\]\n]{0,200}\]\([ \t]{0,3}https?:\/\/[^)\s?]{1,300}\?[^)\s]{0,200}=[ \t]{0,2}(\[|\{|<|%7b|%5b|\$\{)/i
        $named = /!\[[^\]\n]{0,200}\]\([ \t]{0,3}https?:\/\/[^)\s?]{1,300}\?([^)\s]{0,200}&)?(q|query|data|payload|message|context|secret|leak|exfil|prompt|chat|summary)=/i
        $long = /!\[[^\]\n]{0,200}\]\([ \t]{0,3}https?:\/\/[^)\s?]{1,300}\?[^)\s]{0,100}=[A-Za-z0-9+\/_%-]{48}/i
    condition:
        any of them
}

rule persona_without_rules
{
    meta:
        version = "1"
        family = "persona"
        verdict = "quarantine"
        description = "makes the model someone without its rules"
    strings:
        $dan = /\b([Dd]o|DO)[\W_]{1,6}([Aa]nything|ANYTHING)[\W_]{1,6}([Nn]ow|NOW|AI)\b/
        $dan_name = /\b(([Yy]ou|YOU)[\W_]{1,6}(are|ARE|re)|[Aa]ct[\W_]{1,6}as|[Bb]ehave[\W_]{1,6}(like|as))[\W_]{1,6}(now[\W_]{1,6})?DAN\b/
        $unbound = /\byou[\W_]{1,6}(are|re)[\W_]{1,6}((now|no|longer|not)[\W_]{1,6}){1,3}(bound|restricted|limited|constrained|governed|subject)[\W_]{1,6}(by|to)[\W_]{1,6}((any|your|the|all|previous|ethical|content|safety)[\W_]{1,6}){0,3}(rules|guidelines|restrictions|policies|instructions|filters|constraints|limitations)\b/i
        $free = /\byou[\W_]{1,6}(are|re)[\W_]{1,6}(now[\W_]{1,6})?free[\W_]{1,6}(from|of)[\W_]{1,6}((all|any|your|every)[\W_]{1,6}){1,3}((ethical|moral|content|safety|previous)[\W_]{1,6}){0,2}(constraints|restrictions|guidelines|rules|limitations|filters|policies)\b/i
        $unrestricted = /\byou[\W_]{1,6}(are|re)[\W_]{1,6}(now[\W_]{1,6})?(a|an)[\W_]{1,6}(unrestricted|uncensored|unfiltered|unbound|jailbroken|amoral|unlimited|limitless|(no|without|zero)[\W_]{1,6}(limits?|rules|restrictions|filters?))[\W_]{1,6}([a-z]{1,20}[\W_]{1,6}){0,2}(ai|assistant|model|chatbot|bot|llm)\b/i
        $mode = /\b(you[\W_]{1,6}(are|re)[\W_]{1,6}(now[\W_]{1,6})?in|enter|enable|activate|switch[\W_]{1,6}to)[\W_]{1,6}(the[\W_]{1,6})?(god|jailbreak|jailbroken|dan|unrestricted|uncensored|unfiltered)[\W_]{1,6}mode\b/i
        $special_mode = /\byou[\W_]{1,6}(are|re)[\W_]{1,6}((now|currently)[\W_]{1,6})?(operating|running|working|acting)[\W_]{1,6}in[\W_]{1,6}((a|the)[\W_]{1,6})?(developer|dev|debug|admin|god|sudo|root|test)[\W_]{1,6}mode[\W_]{1,6}(and|so)[\W_]{1,6}you[\W_]{1,6}(must|need|should|will|have)\b/i
        $config = /\b(allowed|blocked)[ \t]{1,3}(modes|responses|strings)[ \t]{0,3}:[^\n]{0,200}\n[^\n]{0,20}\b(allowed|blocked)[ \t]{1,3}(modes|responses|strings)[ \t]{0,3}:/i
    condition:
        any of them
}

rule persona
{
    meta:
        version = "1"
        family = "persona"
        verdict = "annotate"
        description = "assigns a role or a mode"
    strings:
        $now = /\byou[\W_]{1,6}(are|re)[\W_]{1,6}now[\W_]{1,6}(a|an|in|the|my|going[\W_]{1,6}to|acting|playing|operating|running)\b/i
        $pretend = /\b(pretend|roleplay[\W_]{1,6}as|role-play[\W_]{1,6}as|act[\W_]{1,6}as[\W_]{1,6}if|imagine)[\W_]{1,6}(that[\W_]{1,6})?(you[\W_]{1,6}(are|re|were)|an?)[\W_]{1,6}((a|an|the)[\W_]{1,6})?[a-z]/i
        $mode = /\b(developer|debug|admin|sudo|root)[\W_]{1,6}mode[\W_]{1,6}((is|has|been|now)[\W_]{1,6}){0,3}(enabled|activated|engaged|unlocked)\b/i
        $in_mode = /\byou[\W_]{1,6}(are|re)[\W_]{1,6}((now|currently|operating|running|working|acting)[\W_]{1,6}){0,3}in[\W_]{1,6}((a|the)[\W_]{1,6})?(developer|dev|debug|admin|sudo|root)[\W_]{1,6}mode\b/i
        $unlimited = /\bwithout[\W_]{1,6}(any[\W_]{1,6}restrictions|(any[\W_]{1,6})?(censorship|(ethical|moral)[\W_]{1,6}(constraints|considerations)))\b/i
    condition:
        any of them
}

rule false_authority
{
    meta:
        version = "1"
        family = "false_system"
        verdict = "quarantine"
        description = "poses as the system or its operator towards the model"
    strings:
        $override = /\b(SYSTEM|ADMIN|ADMINISTRATOR|ROOT|DEVELOPER|INSTRUCTION)[\W_]{1,6}((PROMPT|MESSAGE|LEVEL|MODE)[\W_]{1,6}){0,2}OVERRIDE[ \t]{0,3}[:*!\]]/
        $prompt_block = /\b(BEGIN|END|START|NEW|UPDATED)[\W_]{1,6}((OF|THE)[\W_]{1,6}){0,2}(SYSTEM|HIDDEN)[\W_]{1,6}(PROMPT|INSTRUCTIONS?)\b/
        $link = /\[(system|assistant)\]\(#[^)\n]{1,60}\)/i
        $bracket = /\[(SYSTEM|ADMIN|DEVELOPER)[ _-]{1,3}(PROMPT|INSTRUCTIONS?|COMMAND|OVERRIDE)\]/i
        $from_me = /\b(message|instruction|command)[\W_]{1,6}from[\W_]{1,6}(me|your)\b[^\n]{0,60}\bto[\W_]{1,6}you[\W_]{1,6}(the[\W_]{1,6})?(ai|llm|assistant|model|chatgpt|gpt|claude|gemini|copilot|llama|mistral)/i
        $gave_task = /\b(before|after)[\W_]{1,6}(you[\W_]{1,6})?((can|may)[\W_]{1,6})?(solve|solving|complete|completing|finish|finishing|do|doing)[\W_]{1,6}(the|your|this)[\W_]{1,6}((original|current|main)[\W_]{1,6})?task[\W_]{1,6}(that[\W_]{1,6})?i[\W_]{1,6}gave[\W_]{1,6}you\b/i
    condition:
        any of them
}

rule system_notice
{
    meta:
        version = "1"
        family = "false_system"
        verdict = "annotate"
        description = "looks like a notice of a system"
    strings:
        $notice = /(^|\n)[\W_]{0,6}(SYSTEM|ADMIN)[ _-]{1,3}(NOTICE|MESSAGE|ALERT|UPDATE|INSTRUCTIONS?|COMMAND|OVERRIDE)\b/
        $bracket = /\[(SYSTEM|ADMIN|ADMINISTRATOR)([ _-](MESSAGE|NOTICE))?\]/
        $line = /(^|\n)[ \t]{0,3}SYSTEM[ \t]{0,2}:[ \t]{0,3}[A-Za-z]/
        $authority = /\bthis[\W_]{1,6}is[\W_]{1,6}an?[\W_]{1,6}(important|urgent|authorized|official|critical)[\W_]{1,6}(message|instruction|command|directive|system[\W_]{1,6}message)[\W_]{1,6}(from|by|of)\b/i
    condition:
        any of them
}

rule addressed_to_model
{
    meta:
        version = "1"
        family = "addressed_to_model"
        verdict = "quarantine"
        description = "speaks to the model that reads the document"
    strings:
        $attention = /\b(attention|message|note|notice|reminder|command|order)[\W_]{1,6}((to|for|all|any)[\W_]{1,6}){1,2}((the|every|all|any)[\W_]{1,6}){0,2}((ai|llm)[\W_]{1,6}(assistants?|models?|agents?|systems?|bots?|chatbots?|reviewers?|readers?|crawlers?)|ai|llms?|(large[\W_]{1,6})?language[\W_]{1,6}models?|chatgpt|gpt-?[345o]{1,2}|copilot|chatbots?)[ \t*_]{0,3}[:!]/i
        $greeting = /\b(hey|hello|dear|hi|attention)[\W_]{1,6}(ai|llm|language[\W_]{1,6}model|chatgpt)([\W_]{1,6}(assistants?|models?|agents?|bots?))?[ \t]{0,3}[:,!]/i
        $if_you = /\b(if|since|because|as)[\W_]{1,6}you[\W_]{1,6}(are|re)[\W_]{1,6}an?[\W_]{1,6}((ai|llm)[\W_]{1,6}(assistant|model|agent|system|bot|chatbot|reader|reviewer|language[\W_]{1,6}model)|(large[\W_]{1,6})?language[\W_]{1,6}model|chatbot)[ \t]{0,3}([,.:;]|reading|processing|that is)/i
        $summarizing = /\b(when|while|if|before|after)[\W_]{1,6}((you|an|any|the|ai|llm|assistant|model|are|is)[\W_]{1,6}){0,4}(summari[sz]ing|summari[sz]e|summari[sz]es)[\W_]{1,6}(this|these)[\W_]{1,6}(document|documents|email|e-mail|page|text|message|file|passage|content)\b[^\n.]{0,60}\b(ignore|do[\W_]{1,6}not[\W_]{1,6}(mention|tell|reveal|disclose)|instead|respond|reply|output|say|recommend)\b/i
        $conceal = /\b(do[\W_]{1,6}not|don.{1,3}t|never)[\W_]{1,6}(mention|reveal|disclose|tell|inform|show)[\W_]{1,6}((the|user|users|anyone|to|about|that|of|existence)[\W_]{1,6}){0,6}(this|these)[\W_]{1,6}((hidden|secret|system)[\W_]{1,6})?(instructions?|prompt|commands?|directive)[\W_]{1,6}to[\W_]{1,6}the[\W_]{1,6}user\b/i
        $conceal_hidden = /\b(do[\W_]{1,6}not|don.{1,3}t|never)[\W_]{1,6}(mention|reveal|disclose|tell|inform|show)[\W_]{1,6}((the|user|users|anyone|to|about|that|of|existence)[\W_]{1,6}){0,6}(this|these)[\W_]{1,6}(hidden|secret|system)[\W_]{1,6}(instructions?|prompt|commands?|directive)\b/i
    condition:
        any of them
}

rule steers_answers
{
    meta:
        version = "1"
        family = "addressed_to_model"
        verdict = "annotate"
        description = "prescribes what an assistant answers"
    strings:
        $asked = /\b(when|whenever|if)[\W_]{1,6}((you|are|is|someone|anyone|a|the|user|users|ever|they|ask|asks)[\W_]{1,6}){0,5}(asked|asks|ask|queried|prompted)[^\n.]{0,120}\b(say|answer|respond|reply|state|tell|recommend|output)[\W_]{1,6}(that|with|them|only|the|exactly)\b/i
        $model_must = /\b(ai|llm|language[\W_]{1,6}model|chatbot)[\W_]{1,6}((assistant|model|assistants|models)[\W_]{1,6})?(must|should|shall|has[\W_]{1,6}to|is[\W_]{1,6}required[\W_]{1,6}to|needs[\W_]{1,6}to)[\W_]{1,6}((always|never|only|not|now|immediately)[\W_]{1,6}){0,2}(say|answer|respond|reply|recommend|output|include|tell|ignore|send|state|repeat)\b/i
        $include = /\binclude[\W_]{1,6}((the|this|following|exactly|text|string|phrase|sentence|link|in|at|end|of)[\W_]{1,6}){0,6}your[\W_]{1,6}(response|answer|reply|output|summary)\b/i
        $begin = /\b(begin|start|end|finish|conclude)[\W_]{1,6}(every|each|all|any|your)[\W_]{1,6}(of[\W_]{1,6}your[\W_]{1,6})?(responses?|answers?|repl(y|ies)|outputs?|summary)[\W_]{1,6}(with|by)\b/i
        $conceal_user = /\b(do[\W_]{1,6}not|don.{1,3}t|never)[\W_]{1,6}(tell|inform|alert|notify|warn)[\W_]{1,6}the[\W_]{1,6}user\b/i
        $conceal = /\b(do[\W_]{1,6}not|don.{1,3}t|never)[\W_]{1,6}(mention|reveal|disclose)[\W_]{1,6}(this|these)[\W_]{1,6}(instructions?|prompt|commands?)\b/i
        $for_model = /\b(instructions?|guidance|directions|notes?|message|attention)[\W_]{1,6}(for|to)[\W_]{1,6}((the|all|any|every)[\W_]{1,6}){0,2}((ai|llm)[\W_]{1,6}(assistants?|models?|agents?|systems?|bots?|chatbots?|reviewers?|readers?|crawlers?)|ai|llms?|(large[\W_]{1,6})?language[\W_]{1,6}models?|chatgpt|gpt-?[345o]{1,2}|copilot|chatbots?)\b/i
        $bare_ai = /\bif[\W_]{1,6}you[\W_]{1,6}(are|re)[\W_]{1,6}an?[\W_]{1,6}(ai|llm)[ \t]{0,3}[,.:;]/i
        $processing = /\b(when|while|if|before|after)[\W_]{1,6}((you|an|any|the|ai|llm|assistant|model|are|is)[\W_]{1,6}){0,4}(processing|reading|retrieving|analy[sz]ing|process|retrieve|analy[sz]e)[\W_]{1,6}(this|these)[\W_]{1,6}(document|documents|email|e-mail|page|text|message|file|passage|content)\b[^\n.]{0,60}\b(you[\W_]{1,6}must|always|ignore|do[\W_]{1,6}not|instead|respond|reply|output|say|recommend)\b/i
        $only = /\b(respond|reply|answer)[\W_]{1,6}(only|exclusively|solely)[\W_]{1,6}with\b/i
    condition:
        any of them
}

rule encoded_command
{
    meta:
        version = "1"
        family = "encoded"
        verdict = "quarantine"
        description = "decode this and obey it"
    strings:
        $decode = /\b(decode|decrypt|decipher|deobfuscate|unscramble)[^\n.]{0,60}\b(base64|base-64|rot13|rot-13|hex|cipher|morse|binary|text|string|message|payload)\b[^\n.]{0,80}\b(follow|execute|obey|carry[\W_]{1,6}out|comply[\W_]{1,6}with)[\W_]{1,6}((the|its|these|this|those|all|any|resulting|decoded|hidden)[\W_]{1,6}){0,4}(instructions?|commands?|directives?|it|them|request)\b/i
    condition:
        any of them
}
